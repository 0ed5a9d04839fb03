"""`lmlab export`: a run's model in the format of another program, which then loads it and must compute the same."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab import LabError, StorageError
from lmlab.data.catalogue import CATALOGUE
from lmlab.data.progress import Progress, shown
from lmlab.data.tokenizers import Tokenizer
from lmlab.exchange.models.card import CardFacts, card
from lmlab.exchange.models.exportable import FORMATS, exportable, listed
from lmlab.exchange.models.proof import Proof, prove
from lmlab.exchange.models.writing import WRITERS, Written, require_tokenizer
from lmlab.experiment.loaded import Loaded, load
from lmlab.files import (
    flush_folder,
    make_folder,
    reason,
    remove_dead,
    require_free_bytes,
    temporary_folder,
    write_text,
)
from lmlab.recipe.quantities import byte_count
from lmlab.runs import Run
from lmlab.runs.names import stem_of

DRAFT = ".export-"
"""Prefix of the folder until the export has proven itself."""
MODE = 0o777
PROMPT_CHARACTERS = 40
SMALL = 100_000
"""Bytes of a file from which its size is shown."""
PROMPTS = ("Once upon a time", "The", "A", " ")


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
    reference: str, to: str, out: Path | None = None, *, runs: str | Path = "runs", progress: Progress | None = None
) -> Exported:
    """Write the model of RUN, RUN@best (the default), RUN@latest or RUN@STEP in the format `to` into the new folder `out`.

    Default: RUN-FORMAT in the current folder. LabError where the format can't express the model, the folder has files, or the
    other program computes something else; nothing is left then.
    """
    if to not in FORMATS:
        raise LabError(f"there is no format {to[:40]!r}: expected one of {', '.join(FORMATS)}")
    with shown(progress) as progress:
        progress.begin("reading the model", None)
        loaded = load(reference, runs, "cpu")
        name = loaded.run.name
        found = exportable(loaded.recipe)
        if to not in found.formats:
            raise LabError(_inexpressible(name, to, found.reasons[to], found.formats))
        require_tokenizer(loaded.tokenizer, to)
        folder = _place(out or Path(f"{stem_of(name)}-{to}"))
        what = _what(loaded)
        require_free_bytes(folder.parent, sum(one.nbytes for one in what.weights.values()), "the exported model")
        with temporary_folder(folder.parent, DRAFT, MODE) as draft:
            progress.begin(f"writing {to}", None)
            WRITERS[to](draft.path, what)
            progress.begin("comparing it with the run's model", None)
            proof = prove(draft.path, what, to)
            write_text(draft.path / "README.md", card(what, to, _facts(loaded), proof.line))
            draft.release()
            _put_in_place(draft.path, folder)
    files = {entry.name: entry.stat().st_size for entry in sorted(folder.iterdir())}
    return Exported(run=name, step=loaded.step, to=to, folder=folder, files=files, proof=proof)


def _inexpressible(name: str, to: str, reasons: tuple[str, ...], others: tuple[str, ...]) -> str:
    instead = f"use --to {' or '.join(others)}" if others else "no other format can either"
    return f"{name} can't be exported to {to}, which has no {listed(reasons)}: {instead}"


def _place(folder: Path) -> Path:
    """Return the folder, whose parent exists then; LabError unless it is new or empty."""
    try:
        if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
            raise LabError(f"{folder} is there already: name a new folder with --out")
    except OSError as error:
        raise LabError(f"--out {folder} can't be used: {reason(error)}; name another folder") from None
    make_folder(folder.parent, "name another folder with --out")
    remove_dead(folder.parent, DRAFT)
    return folder


def _put_in_place(draft: Path, folder: Path) -> None:
    try:
        if folder.is_dir():
            folder.rmdir()
        os.rename(draft, folder)
        flush_folder(folder.parent)
    except OSError as error:
        raise StorageError(f"{folder} can't be written: {reason(error)}; name another folder with --out") from None


def _what(loaded: Loaded) -> Written:
    figures = dict(_scored(loaded.run, loaded.step)).get("validation split", {})
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


def _facts(loaded: Loaded) -> CardFacts:
    run = loaded.run
    summary = None if run.model_from is not None else run.summary()
    trained = summary["tokens"] if summary and summary.get("steps") == loaded.step else None
    return CardFacts(
        run=run.name,
        text=_text(loaded),
        trained_tokens=trained,
        figures=[
            (f"{'whole ' if values.get('whole') else ''}{title}", values) for title, values in _scored(run, loaded.step)
        ],
        prompt=_prompt(loaded.tokenizer, loaded.recipe.evaluate.prompts),
    )


def _scored(run: Run, step: int) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the figures that the run's summary has for the model of this step."""
    with contextlib.suppress(LabError):
        summary = run.summary()
        if summary is not None:
            at = [values for values in (summary["final"], summary["best"]) if values["step"] == step]
            return [("validation split", at[0])] if at else []
    return []


def _text(loaded: Loaded) -> str:
    """Return what the model was trained on, with the licence where lmlab's catalogue has one."""
    run = loaded.run
    if run.model_from is not None:
        known = run.model_from.get("corpus")
        what = f"; its file names {known}" if known else ""
        return f"Unknown: it is an import of {Path(run.model_from['path']).name} ({run.model_from['kind']}){what}."
    parent = run.origin().get("parent")
    before = f" It continues {parent['name']}@{parent['step']}, whose text came before." if parent else ""
    corpus = loaded.recipe.data.corpus
    if corpus in CATALOGUE:
        entry = CATALOGUE[corpus]
        return f"{entry.name}: {entry.about}. Licence: {entry.licence} ({entry.home}).{before}"
    return f"{Path(corpus).name}, a text of its owner's, whose licence the run doesn't know.{before}"


def _prompt(tokenizer: Tokenizer, prompts: tuple[str, ...]) -> str:
    """Return a prompt for an example, of symbols that the tokenizer knows."""
    for one in (*prompts, *PROMPTS):
        if one.strip() and not tokenizer.unknown_symbols(one):
            return one.strip()[:PROMPT_CHARACTERS]
    return ""
