"""RUNS/judged-ID/judged.json: the figures of a comparison, and the raw values that they follow from."""

from __future__ import annotations

from pathlib import Path

from lmlab import LabError, __version__
from lmlab.files import make_folder, read_json, write_json
from lmlab.judge.figures import Figures, figures_of
from lmlab.judge.raw import FORMAT, KIND, raw_from_json

FILE = "judged.json"
FOLDER = "judged-"


def write_judged(figures: Figures, runs: Path) -> Path:
    """Write RUNS/judged-ID/judged.json; return its path."""
    folder = make_folder(runs / f"{FOLDER}{figures.raw.id}", "choose a folder of runs that can be written")
    value = {
        "format": FORMAT,
        "kind": KIND,
        "id": figures.raw.id,
        "lmlab": __version__,
        "figures": figures.to_json(),
        "raw": figures.raw.to_json(),
    }
    write_json(folder / FILE, value)
    return folder / FILE


def read_judged(path: Path) -> tuple[Figures, object]:
    """Return the figures computed again from a file's raw values, and those that it states; LabError where it's damaged."""
    value = read_json(path)
    if not isinstance(value, dict) or value.get("kind") != KIND:
        raise LabError(f"{path} is no comparison by lmlab judge: expected its {FILE}")
    if value.get("format") != FORMAT:
        raise LabError(f"{path} has format {str(value.get('format'))[:20]}: this version reads {FORMAT}; update lmlab")
    return figures_of(raw_from_json(value.get("raw"))), value.get("figures")
