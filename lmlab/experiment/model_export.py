"""`lmlab export`: a run's model in the format of another program, which then loads it and must compute the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError
from lmlab.data.progress import Progress, shown
from lmlab.exchange.html.weights import WeightsName
from lmlab.exchange.models.card import card
from lmlab.exchange.models.exportable import FORMATS, HTML, exportable, listed
from lmlab.exchange.models.proof import Proof, prove
from lmlab.exchange.models.writing import WRITERS, Written, require_tokenizer
from lmlab.experiment.export_place import draft_beside, free_place, put_in_place
from lmlab.experiment.loaded import Loaded, load
from lmlab.experiment.model_facts import card_facts, recorded_figures
from lmlab.experiment.page_export import ExportedPage, export_page
from lmlab.files import require_free_bytes, write_text
from lmlab.recipe.quantities import byte_count
from lmlab.runs.names import stem_of

SMALL = 100_000
"""Bytes of a file from which its size is shown."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A folder that was written."""

    run: str
    step: int
    to: str
    folder: Path
    files: Mapping[str, int]
    """Name -> bytes."""
    proof: Proof

    def lines(self) -> list[str]:
        """Return a description for the user."""
        listed = ", ".join(
            name if size < SMALL else f"{name} ({byte_count(size)})" for name, size in self.files.items()
        )
        return [f"{self.run}@{self.step} for {FORMATS[self.to]}: {self.folder}", f"  {listed}", f"  {self.proof.line}"]

    def to_json(self) -> dict[str, Any]:
        """Return the value for `--json`."""
        proof = {"by": self.proof.by or None, "line": self.proof.line, "largest_difference": self.proof.largest}
        return {
            "run": self.run,
            "step": self.step,
            "to": self.to,
            "folder": str(self.folder),
            "files": dict(self.files),
            "proof": proof,
        }


def export_model(
    reference: str,
    to: str,
    out: Path | None = None,
    *,
    weights: WeightsName = "float32",
    runs: str | Path = "runs",
    progress: Progress | None = None,
) -> Exported | ExportedPage:
    """Write the model of RUN, RUN@best (the default), RUN@latest or RUN@STEP in the format `to` into the new folder `out`.

    Default: RUN-FORMAT in the current folder. Of html `out` is a file (default: RUN.html), and `weights` may be int8. LabError
    where the format can't express the model, the folder has files, or the other program computes something else; nothing is left
    then.
    """
    if weights != "float32" and to != HTML:
        raise LabError(f"--weights {weights} is for --to html: {to} is written in float32")
    if to not in FORMATS:
        raise LabError(f"there is no format {to[:40]!r}: expected one of {', '.join(FORMATS)}")
    with shown(progress) as progress:
        progress.begin("reading the model", None)
        loaded = load(reference, runs, "cpu")
        name = loaded.run.name
        found = exportable(loaded.recipe)
        if to not in found.formats:
            raise LabError(_inexpressible(name, to, found.reasons[to], found.formats))
        if to == HTML:
            return export_page(loaded, out, weights, progress)
        require_tokenizer(loaded.tokenizer, to)
        folder = free_place(out or Path(f"{stem_of(name)}-{to}"), "folder")
        what = _what(loaded)
        require_free_bytes(folder.parent, sum(one.nbytes for one in what.weights.values()), "the exported model")
        with draft_beside(folder) as draft:
            progress.begin(f"writing {to}", None)
            WRITERS[to](draft.path, what)
            progress.begin("comparing it with the run's model", None)
            proof = prove(draft.path, what, to)
            write_text(draft.path / "README.md", card(what, to, card_facts(loaded), proof.line))
            draft.release()
            put_in_place(draft.path, folder, "folder")
    files = {entry.name: entry.stat().st_size for entry in sorted(folder.iterdir())}
    return Exported(run=name, step=loaded.step, to=to, folder=folder, files=files, proof=proof)


def _inexpressible(name: str, to: str, reasons: tuple[str, ...], others: tuple[str, ...]) -> str:
    instead = f"use --to {' or '.join(others)}" if others else "no other format can either"
    return f"{name} can't be exported to {to}, which has no {listed(reasons)}: {instead}"


def _what(loaded: Loaded) -> Written:
    figures = dict(recorded_figures(loaded.run, loaded.step)).get("validation split", {})
    return Written(
        name=stem_of(loaded.run.name),
        model=loaded.recipe.model,  # type: ignore[arg-type]  # `exportable` refuses other families
        vocabulary=loaded.tokenizer.vocabulary_size,
        weights=dict(loaded.model.state_dict()),
        tokenizer=loaded.tokenizer,
        step=loaded.step,
        loss=figures.get("loss"),
        template=loaded.run.template(),
    )
