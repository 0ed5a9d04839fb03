"""Several models write after the same prompts, their texts are measured beside real text, and each run keeps its figures.

The prompts are beginnings of the validation split of the first run whose data is here, unless others are given; what people wrote
after them is the yardstick. Each run's texts are looked up in its own training text, the real text in that of the run it's from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmlab import LabError, StorageError, __version__
from lmlab.data.dataset import Dataset, find_dataset
from lmlab.data.progress import Progress, shown
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.evaluation.measures.copying import Copies
from lmlab.evaluation.measures.figures import Figure, figures_of, rows_of
from lmlab.evaluation.measures.passages import Passage, words_of
from lmlab.evaluation.measures.real import real_passages
from lmlab.evaluation.measures.reference import reference_rows
from lmlab.evaluation.tasks.encoding import Encoder
from lmlab.evaluation.tasks.scoring import Scorer
from lmlab.evaluation.training_text import is_quick
from lmlab.experiment.arithmetic import PLAIN, Arithmetic, arithmetic_of
from lmlab.experiment.loaded import load
from lmlab.experiment.models_of_others import is_foreign, load_foreign
from lmlab.experiment.side_by_side import SideBySide, side_by_side
from lmlab.experiment.task_scores import encoder_of
from lmlab.files import read_json
from lmlab.generation.prompts import first_token
from lmlab.generation.settings import Sampling
from lmlab.runs import Run, open_run
from lmlab.runs.measures import write_measures

REAL = "real text"
SPLIT = "valid"
MOST_STORED = 128
"""Texts that are kept with a run; its figures are of all."""
UNEVEN = 1.5
"""Ratio of words a text from which a note says that the figures of repetition aren't comparable."""


@dataclass(frozen=True, kw_only=True)
class AskedMeasures:
    """What is measured."""

    prompts: tuple[str, ...] = ()
    """Given prompts; none: beginnings of validation text."""
    count: int = 32
    """Prompts from validation text."""
    sampling: Sampling
    reference: str = ""
    """RUN or hf:FOLDER that scores the texts; empty: none."""
    copies: Literal["auto", "yes", "no"] = "auto"
    """Whether copies are looked for; auto: in training text of up to 256 MB."""

    def to_json(self) -> dict[str, Any]:
        """Return what decides whether two measurements can be compared."""
        sampling = dataclasses.asdict(self.sampling)
        del sampling["draft"]
        return {
            "prompts": list(self.prompts) or None,
            "count": None if self.prompts else self.count,
            "sampling": {**sampling, "stop": list(self.sampling.stop)},
            "reference": self.reference or None,
        }


@dataclass(frozen=True, kw_only=True)
class MeasuredTexts:
    """The texts of one model, or real text, and their figures."""

    name: str
    passages: tuple[Passage, ...]
    figures: Mapping[str, Figure]
    rows: Mapping[str, NDArray[np.float64]]
    """What each passage adds to them: `lmlab.evaluation.measures.figures.FIGURES`."""
    data_id: str | None
    """The data set in whose training text copies were looked for; None if in none."""
    run: Run | None = None
    step: int | None = None

    @property
    def longest_copy(self) -> int | None:
        """Words of the longest copy of all; None where none were looked for."""
        longest = self.rows.get("longest")
        return None if longest is None or not len(longest) else int(longest.max())

    def to_json(self) -> dict[str, Any]:
        """Return plain values for --json."""
        return {
            "name": self.name,
            "id": None if self.run is None else self.run.id,
            "step": self.step,
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
            "longest_copy_of_all": self.longest_copy,
            "data_id": self.data_id,
            "passages": [dataclasses.asdict(passage) for passage in self.passages],
        }


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What was measured, model by model, and the yardstick."""

    models: tuple[MeasuredTexts, ...]
    real: MeasuredTexts | None
    """What people wrote; None where no run's data is here."""
    texts: SideBySide
    asked: AskedMeasures
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return {
            "asked": self.asked.to_json(),
            "models": [one.to_json() for one in self.models],
            "real": None if self.real is None else self.real.to_json(),
            "notes": list(self.notes),
        }


def measure(
    references: Sequence[str],
    asked: AskedMeasures,
    *,
    runs: Path,
    device: str = "auto",
    address: str = "",
    model: str = "",
    progress: Progress | None = None,
) -> Measures:
    """Let each model write, measure the texts, and store each run's figures in its folder.

    `references`, `address` and `model` are those of `side_by_side`. LabError where a model can't be loaded or read a prompt, or
    there are no prompts.
    """
    with shown(progress) as progress:
        opened = [None if is_foreign(name) else open_run(name, runs)[0] for name in references]
        data = _DataSets(opened, asked.copies)
        real = None if data.first is None else _real(data.first, asked, _readers(opened))
        if not asked.prompts and real is None:
            raise LabError(
                "no model that was named has its validation text here: give prompts with --prompt TEXT, or name a run"
            )
        # Refused before anything is computed.
        reference = Reference(asked.reference, runs, device) if asked.reference else None
        texts = side_by_side(
            references,
            asked.prompts or tuple(passage.prompt for passage in real or ()),
            asked.sampling,
            runs=runs,
            device=device,
            address=address,
            model=model,
            say=lambda line: progress.begin(line, None, "characters"),
            wrote=progress.advance,
        )
        sources: list[Run | None] = [*opened, *([None] * (len(texts.writers) - len(opened)))]
        groups = [
            Group(
                name=writer.name if writer.step is None else f"{writer.name}@{writer.step}",
                passages=tuple(_passage(sample) for sample in writer.samples),
                dataset=data.of(run),
                run=run,
                step=writer.step,
            )
            for writer, run in zip(texts.writers, sources, strict=True)
        ]
        if real is not None:
            groups.append(Group(name=REAL, passages=tuple(real), dataset=data.searched(data.first)))
        measured = measured_groups(groups, reference, progress)
    models, yardstick = measured[: len(sources)], measured[-1] if real is not None else None
    notes = [*(warning for one in texts.writers for warning in one.warnings), *data.notes, *_notes(measured, asked)]
    notes += [line for line in (_stored(one, yardstick, asked) for one in models) if line]
    return Measures(models=tuple(models), real=yardstick, texts=texts, asked=asked, notes=tuple(dict.fromkeys(notes)))


def _notes(measured: Sequence[MeasuredTexts], asked: AskedMeasures) -> list[str]:
    """Return what limits comparisons of the figures, in words."""
    notes = []
    if asked.prompts and any(one.name == REAL for one in measured):
        notes.append(f"{REAL} is validation text after other prompts than those given")
    words = [one.figures["words"].estimate for one in measured]
    if max(words) > UNEVEN * min(words):
        notes.append(
            f"the texts have {min(words):.0f} to {max(words):.0f} words: longer ones repeat more, so compare repeated and distinct "
            "n-grams only where words per text are alike"
        )
    return notes


@dataclass(frozen=True, kw_only=True)
class Group:
    """Passages that are measured together."""

    name: str
    passages: tuple[Passage, ...]
    dataset: Dataset | None
    """In whose training text copies are looked for; None: in none."""
    run: Run | None = None
    step: int | None = None


class _DataSets:
    """The data sets of runs, as far as they are here and to be searched."""

    def __init__(self, opened: Sequence[Run | None], copies: str) -> None:
        self._copies = copies
        self._found: dict[str, Dataset] = {}
        self.notes: list[str] = []
        for run in opened:
            if run is not None and run.model_from is None:
                self._find(run)
        ids = [run.fact("data_id") for run in opened if run is not None and run.model_from is None]
        self.first = next((self._found[one] for one in ids if one in self._found), None)

    def of(self, run: Run | None) -> Dataset | None:
        """Return the data set in which a model's copies are looked for; None if in none."""
        if run is None or run.model_from is not None:
            return None
        return self.searched(self._found.get(run.fact("data_id")))

    def searched(self, dataset: Dataset | None) -> Dataset | None:
        """Return the data set if it is to be searched."""
        if dataset is None or self._copies == "no":
            return None
        if self._copies == "auto" and not is_quick(dataset):
            self.notes.append(
                f"copies of the training text of data {dataset.id} were not looked for, it is large: --measure.copies yes"
            )
            return None
        return dataset

    def _find(self, run: Run) -> None:
        try:
            found = find_dataset(run.fact("data_id"))
            self._found[found.id] = found
        except LabError as error:
            self.notes.append(f"{run.name}: copies are unknown: {error}")


class Reference:
    """The model under which texts are scored."""

    def __init__(self, name: str, runs: Path, device: str = "auto") -> None:
        """Load the run, or the local model of transformers; LabError where it isn't there."""
        if is_foreign(name):
            foreign = load_foreign(name, device)
            tokenizer, context = foreign.tokenizer, foreign.model.context
            self._encoder = Encoder(tokenizer=tokenizer, context=context, first=first_token(tokenizer))
            self._arithmetic: Arithmetic = PLAIN
            self._scorer = Scorer(model=foreign.model, device=foreign.device)  # type: ignore[arg-type]
        else:
            loaded = load(name, runs, device)
            self._encoder, self._arithmetic = encoder_of(loaded), arithmetic_of(loaded)
            self._scorer = Scorer(
                model=loaded.model,
                device=loaded.device,
                autocast=self._arithmetic.autocast,
                engine=self._arithmetic.engine,
            )
        self._name = name

    def rows(self, passages: Sequence[Passage], progress: Progress) -> dict[str, NDArray[np.float64]]:
        """Return the bits and bytes of the passages."""
        progress.begin(f"{self._name} scores {len(passages)} texts", None, "characters")
        with self._arithmetic.products():
            return reference_rows(self._scorer, self._encoder, passages, progress.advance)


def _readers(opened: Sequence[Run | None]) -> list[Tokenizer]:
    """Return the tokenizers of the runs, all of which must know a prompt's characters."""
    return [load_tokenizer(read_json(run.folder / "tokenizer.json")) for run in opened if run is not None]


def _real(dataset: Dataset, asked: AskedMeasures, readers: Sequence[Tokenizer]) -> list[Passage] | None:
    """Return real passages; None where prompts are given and the validation split has none."""
    count = len(asked.prompts) or asked.count
    try:
        return real_passages(
            dataset,
            SPLIT,
            count,
            asked.sampling.tokens,
            readable=lambda prompt: not any(reader.unknown_symbols(prompt) for reader in readers),
        )
    except LabError:
        if asked.prompts:
            return None
        raise


def _passage(sample: Mapping[str, Any]) -> Passage:
    cut = sample["reason"] in ("length", "stopped")
    return Passage(prompt=sample["prompt"], text=sample["text"], cut=cut)


def measured_groups(groups: Sequence[Group], reference: Reference | None, progress: Progress) -> list[MeasuredTexts]:
    """Return the figures of each group. Each data set is read once, for all passages whose copies are looked for in it."""
    words = [words_of(group.passages) for group in groups]
    longest: list[NDArray[np.int64] | None] = [None] * len(groups)
    for dataset in {group.dataset.id: group.dataset for group in groups if group.dataset is not None}.values():
        places = [at for at, one in enumerate(groups) if one.dataset is not None and one.dataset.id == dataset.id]
        passages = [passage for at in places for passage in groups[at].passages]
        copies = Copies(words_of(passages))
        copies.search(dataset, max(len(one.text.encode("utf-8", "replace")) for one in passages), progress)
        sizes = np.cumsum([len(words[at].hashes) for at in places])[:-1]
        for at, own in zip(places, np.split(copies.longest(), sizes), strict=True):
            longest[at] = own
    measured = []
    for group, of_group, found in zip(groups, words, longest, strict=True):
        rows = rows_of(of_group, found) | ({} if reference is None else reference.rows(group.passages, progress))
        measured.append(
            MeasuredTexts(
                name=group.name,
                passages=group.passages,
                figures=figures_of(of_group, rows),
                rows=rows,
                data_id=None if group.dataset is None else group.dataset.id,
                run=group.run,
                step=group.step,
            )
        )
    return measured


def _stored(one: MeasuredTexts, real: MeasuredTexts | None, asked: AskedMeasures) -> str:
    """Write a run's figures into its folder; return a line if the disk refuses."""
    if one.run is None or one.step is None:
        return ""
    value = one.to_json()
    del value["step"], value["name"]
    value["passages"] = value["passages"][:MOST_STORED]
    made = datetime.now(UTC).isoformat(timespec="seconds")
    figures = None if real is None else {name: figure.to_json() for name, figure in real.figures.items()}
    try:
        write_measures(
            one.run.folder,
            one.step,
            {"created": made, "lmlab": __version__, "asked": asked.to_json(), "real": figures, **value},
        )
    except StorageError as error:
        return f"the measures of {one.run.name} are not stored: {error}"
    return ""
