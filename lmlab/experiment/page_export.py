"""`lmlab export --to html`: a run's model as one page, with its weights, tokenizer, curves and card, which proves itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lmlab import LabError, __version__
from lmlab.data.catalogue import CATALOGUE
from lmlab.data.progress import Progress
from lmlab.data.tokenizers.base import Tokenizer
from lmlab.data.windows import split_windows
from lmlab.evaluation.losses import Scoring, evaluate_split
from lmlab.evaluation.result import Evaluation
from lmlab.evaluation.sample import choose_units
from lmlab.evaluation.text import split_tokens
from lmlab.exchange.html.curves import curves
from lmlab.exchange.html.described import model_settings, template_settings, tokenizer_settings
from lmlab.exchange.html.document import document
from lmlab.exchange.html.expected import expected_of
from lmlab.exchange.html.proof import prove_page
from lmlab.exchange.html.weights import Packed, WeightsName, pack
from lmlab.exchange.models.exportable import FORMATS, HTML
from lmlab.exchange.models.proof import Proof
from lmlab.experiment.export_place import draft_beside, free_place, put_in_place
from lmlab.experiment.loaded import Loaded
from lmlab.experiment.model_facts import card_facts
from lmlab.experiment.scored_text import Reader, part_to_score
from lmlab.files import require_free_bytes, write_text
from lmlab.generation.prompts import begin_of, first_token
from lmlab.model.families import family_of
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import byte_count
from lmlab.recipe.text import to_toml
from lmlab.runs.names import stem_of

MOST_CHARACTERS = 400_000_000
"""Of the weights of a page, all of which a browser holds in memory, as text and as numbers."""
MOST_MEASURED = 100_000
MEASURED_PRODUCTS = 10**12
"""Most multiplications by weights of a measured loss, tokens times parameters, so that a large model is scored on fewer tokens."""
EXAMPLE_TOKENS = 40
ODD_TEXT = "na\u00efve \u4f60\u597d \U0001f642 e\u0301\r\n\t It's 42!  "
"""For the proof: several bytes a character, combining marks, white space."""


@dataclass(frozen=True, kw_only=True)
class ExportedPage:
    """A page that was written."""

    run: str
    step: int
    file: Path
    bytes: int
    weights: WeightsName
    losses: tuple[str, ...]
    """What int8 changes, in words."""
    proof: Proof

    def lines(self) -> list[str]:
        """Return a description for the user."""
        first = f"{self.run}@{self.step} for {FORMATS[HTML]}: {self.file} ({byte_count(self.bytes)}, {self.weights})"
        return [first, *(f"  {line}" for line in self.losses), f"  {self.proof.line}"]

    def to_json(self) -> dict[str, Any]:
        """Return the value for `--json`."""
        proof = {"by": self.proof.by or None, "line": self.proof.line, "largest_difference": self.proof.largest}
        return {
            "run": self.run,
            "step": self.step,
            "to": HTML,
            "file": str(self.file),
            "bytes": self.bytes,
            "weights": self.weights,
            "losses": list(self.losses),
            "proof": proof,
        }


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """The loss of the same tokens with the run's weights and with those of the page; none of them where it wasn't measured."""

    line: str
    rows: tuple[tuple[str, Evaluation], ...] = ()


def export_page(loaded: Loaded, out: Path | None, weights: WeightsName, progress: Progress) -> ExportedPage:
    """Write the page of a loaded model, which has float32 weights on the CPU then as the page stores them.

    LabError where the file is there already, the model is too large, or node or Chromium computes something else from it.
    """
    name = stem_of(loaded.run.name)
    file = free_place(out or Path(f"{name}.html"), "file")
    tokenizer = tokenizer_settings(loaded.tokenizer)
    example = _example(loaded)
    packed = pack(dict(loaded.model.state_dict()), weights)
    if packed.characters > MOST_CHARACTERS:
        smaller = "; use --weights int8" if weights == "float32" and packed.characters < 4 * MOST_CHARACTERS else ""
        raise LabError(
            f"the weights of {name} are {byte_count(packed.characters)} of text: a page has at most "
            f"{byte_count(MOST_CHARACTERS)}{smaller}"
        )
    measured = _measure(loaded, packed, progress) if weights == "int8" else None
    loaded.model.load_state_dict(dict(packed.stored))
    facts = {
        **_facts(loaded, packed, measured, example),
        "tokenizer": tokenizer,
        "check": expected_of(loaded.model, loaded.tokenizer, _odd(loaded.tokenizer, example)),
        "tensors": list(packed.entries),
    }
    progress.begin("writing the page", None)
    text = document(name, facts, packed.texts)
    require_free_bytes(file.parent, len(text), "the page")
    with draft_beside(file) as draft:
        made = draft.path / "page.html"
        write_text(made, text)
        progress.begin("checking the page", None)
        proof = prove_page(made)
        put_in_place(made, file, "file")
    return ExportedPage(
        run=loaded.run.name,
        step=loaded.step,
        file=file,
        bytes=file.stat().st_size,
        weights=weights,
        losses=() if measured is None else (measured.line,),
        proof=proof,
    )


def _facts(loaded: Loaded, packed: Packed, measured: _Measured | None, example: str) -> Mapping[str, Any]:
    """Return what the page knows of its model, but for tensors, tokenizer and check."""
    recipe, tokenizer = loaded.recipe, loaded.tokenizer
    known = card_facts(loaded)
    begin = begin_of(recipe.data, tokenizer)
    total = sum(one.numel() for one in packed.stored.values())
    kind = "GPT" if recipe.model.kind == "gpt" else "Recurrent model"
    template = loaded.run.template()
    rows = [(f"{title}, as the run recorded it", values) for title, values in known.figures]
    rows += [(title, _values(one)) for title, one in (measured.rows if measured else ())]
    size = f"{recipe.model.layers} layers, {family_of(recipe.model).size_words(recipe.model)}"
    trained = (
        ""
        if known.trained_tokens is None
        else f" It was trained on {known.trained_tokens:,} tokens (repetitions count)."
    )
    how = (
        "It continues a text; it follows no instructions."
        if template is None
        else f"It was tuned on conversations with the template {template.name}."
    )
    return {
        "title": stem_of(loaded.run.name),
        "about": f"{kind} of {total:,} parameters, step {loaded.step:,}, {packed.kind} weights",
        "model": model_settings(recipe.model, tokenizer.vocabulary_size),
        "template": template_settings(template),
        "begin": begin,
        "before": tokenizer.begin_of_text if begin is None else begin,
        "first": first_token(tokenizer),
        "lossless": tokenizer.lossless,
        "prompt": known.prompt,
        "example": example,
        "card": [
            f"{kind} of {total:,} parameters: {size}, context {recipe.model.context:,} tokens, vocabulary "
            f"{tokenizer.vocabulary_size:,} ({tokenizer.name}). {how}",
            f"Training text: {known.text}{trained}",
            f"Written by lmlab {__version__} from step {loaded.step:,} of the run {loaded.run.name}, with weights in "
            f"{packed.kind}. The page computes by itself, in this browser: it sends nothing and loads nothing.",
        ],
        "losses": [["scored", "loss, nats a token", "perplexity", "tokens"], *(_row(*row) for row in rows)]
        if rows
        else [],
        "curves": curves(loaded.run.read_lines("metrics") if loaded.run.model_from is None else ()),
        "recipe": to_toml(_without_folders(recipe)),
    }


def _row(title: str, values: Mapping[str, Any]) -> list[str]:
    return [title, f"{values['loss']:.4f}", f"{values['perplexity']:,.4g}", f"{values['tokens']:,}"]


def _values(found: Evaluation) -> Mapping[str, Any]:
    return {"loss": found.loss, "perplexity": found.perplexity, "tokens": found.tokens}


def _without_folders(recipe: Recipe) -> Recipe:
    """Return the recipe with the name of its text in place of the path on this machine."""
    corpus = recipe.data.corpus
    name = corpus if corpus in CATALOGUE else Path(corpus).name
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, corpus=name))


def _example(loaded: Loaded) -> str:
    """Return a text to look at: what the model writes after the example's prompt, if its tokenizer reads that again."""
    prompt = card_facts(loaded).prompt
    text = loaded.generate(prompt, tokens=EXAMPLE_TOKENS).strip()
    return prompt if loaded.tokenizer.unknown_symbols(text) else text


def _odd(tokenizer: Tokenizer, example: str) -> str:
    """Return the text whose tokens are compared: the example, with odd symbols where the tokenizer reads them."""
    return example if tokenizer.unknown_symbols(ODD_TEXT) else example + ODD_TEXT


def _measure(loaded: Loaded, packed: Packed, progress: Progress) -> _Measured:
    """Return the losses of a sample of the validation split; the model has the weights of the page afterwards."""
    reader = Reader(name=loaded.run.name, data=loaded.recipe.data, tokenizer=loaded.tokenizer, dataset=loaded.dataset)
    try:
        part = part_to_score(reader, None, None, {})
    except LabError as error:
        return _Measured(line=f"the loss in int8 wasn't measured: {error}")
    progress.begin("measuring the loss in int8", None)
    total = sum(one.numel() for one in packed.stored.values())
    wanted = max(loaded.recipe.model.context, min(MOST_MEASURED, MEASURED_PRODUCTS // total))
    units = choose_units(part.dataset.units(part.split), len(split_tokens(part.dataset, part.split)), wanted)
    own = dataclasses.replace(loaded.recipe, data=part.data)
    scoring = Scoring(
        model=loaded.model,
        text=part.dataset,
        context=loaded.recipe.model.context,
        device=torch.device("cpu"),
        documents=lambda split: split_windows(own, part.dataset, split),
    )
    before = evaluate_split(scoring, part.split, units=units)
    loaded.model.load_state_dict(dict(packed.stored))
    after = evaluate_split(scoring, part.split, units=units)
    return _Measured(
        line=f"loss in int8 {after.loss:.4f}, in float32 {before.loss:.4f} ({after.loss - before.loss:+.4f}) nats a token, over "
        f"{after.tokens:,} tokens of the {part.split} split",
        rows=(("sample of the validation split, float32", before), ("the same tokens, int8", after)),
    )
