"""The README.md of an exported model: what it is, what it was trained on, its losses with their counts, and how to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmlab import __version__, printable
from lmlab.exchange.models.exportable import GGUF, HF, NANOGPT
from lmlab.exchange.models.writing import CHECKPOINT, META, MODEL_FILE, Written, hf_class
from lmlab.model.cost import parameters

USES = {
    HF: """```python
from transformers import pipeline

print(pipeline("text-generation", model="FOLDER")("PROMPT", max_new_tokens=100)[0]["generated_text"])
```""",
    GGUF: f"""With llama.cpp: `llama-cli -m FOLDER/{MODEL_FILE} -p "PROMPT" -no-cnv`. With Ollama: `ollama create NAME -f Modelfile`
in this folder, then `ollama run NAME "PROMPT"`.""",
    NANOGPT: f"""In a clone of nanoGPT: `python sample.py --out_dir=FOLDER --start="PROMPT"`. Where there is a `{META}`, copy it to
`data/NAME/{META}` of the clone first. `{CHECKPOINT}` has no optimizer state, so nanoGPT can't resume from it.""",
}


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a run knows about its model."""

    run: str
    text: str
    """What it was trained on, and its licence, in words."""
    trained_tokens: int | None
    figures: Sequence[tuple[str, Mapping[str, Any]]]
    """(what was scored, the figures of an evaluation)."""
    prompt: str


def card(what: Written, name: str, facts: CardFacts, proof: str) -> str:
    """Return the text of README.md; `proof` says how the export was compared with the run."""
    model, total = what.model, parameters(what.model, what.vocabulary)["total"]
    kind = {HF: hf_class(model), GGUF: f"GGUF, architecture {'llama' if model.positions == 'rotary' else 'gpt2'}"}
    trained = (
        ""
        if facts.trained_tokens is None
        else f" It was trained on {facts.trained_tokens:,} tokens (repetitions count)."
    )
    use = (
        USES[name]
        .replace("FOLDER", "PATH_OF_THIS_FOLDER")
        .replace("PROMPT", _quoted(facts.prompt))
        .replace("NAME", what.name)
    )
    lines = [
        *(_front_matter() if name == HF else []),
        f"# {_plain(what.name)}",
        "",
        f"A GPT ({kind.get(name, 'nanoGPT')}) of {total:,} parameters: {model.layers} layers, {model.heads} heads, width "
        f"{model.width:,}, context {model.context:,} tokens, vocabulary {what.vocabulary:,} ({what.tokenizer.name}). "
        f"{_asked(what)}",
        "",
        f"Exported by lmlab {__version__} from step {what.step:,} of the run {_plain(facts.run)}, in float32; {proof}.",
        "",
        "## Training text",
        "",
        f"{_plain(facts.text)}{trained}",
        "",
        "## Losses",
        "",
        *(_table(facts.figures) if facts.figures else ["None is recorded for this model."]),
        "",
        "## Use",
        "",
        use,
        "",
    ]
    return "\n".join(lines)


def _asked(what: Written) -> str:
    """Return how the model wants to be asked."""
    if what.template is None:
        return "It continues a text; it follows no instructions."
    return (
        f"It was tuned on conversations with the template {what.template.name}, by which a question must be written (the chat "
        "template of transformers and Ollama's Modelfile have it)."
    )


def _front_matter() -> list[str]:
    return ["---", "library_name: transformers", "pipeline_tag: text-generation", "tags:", "- lmlab", "---", ""]


def _table(figures: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    rows = [
        "| scored | loss, nats a token | perplexity | bits a byte | accuracy | tokens |",
        "|---|---|---|---|---|---|",
    ]
    for title, values in figures:
        bits = "-" if values.get("bits_per_byte") is None else f"{values['bits_per_byte']:.4f}"
        rows.append(
            f"| {_plain(title)} | {values['loss']:.4f} | {values['perplexity']:,.4g} | {bits} | {values['accuracy']:.1%} | "
            f"{values['tokens']:,} |"
        )
    return rows


def _plain(text: str) -> str:
    """Return a text of somebody else for a page of Markdown: one line, nothing that a terminal or a page interprets."""
    return "".join(f"\\{sign}" if sign in "<>[]|`*" else sign for sign in printable(text))


def _quoted(text: str) -> str:
    return printable(text).replace('"', "'").replace("`", "'")
