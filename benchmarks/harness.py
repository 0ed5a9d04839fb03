"""The same model and records in lmlab and in lm-evaluation-harness: every log-probability and every decision, side by side.

    python -m benchmarks.harness --tasks FOLDER --gpt2 FOLDER [--items 200] [--publish]

A small GPT with random weights is scored by lmlab on its own tasks, and as Hugging Face's GPT-2 by the harness with the harness's
own task configurations, tokenizer and model class. Both read the same JSONL: each task's records are written in its original form
first, which lmlab reads too. The harness's data sets are on the hub, so its configurations are given these files instead.

The harness puts a space before each of BLiMP's sentences, and two spaces before the answers of COPA and of the Winograd schemas
(its `target_delimiter`, and one that the answers have already). lmlab puts none and one there, so it is told to add none. It needs
lm_eval, transformers, and GPT-2's encoder.json and vocab.bpe.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import context
from benchmarks.render import fill
from lmlab import LabError
from lmlab.data.tokenizers.gpt2 import load_gpt2
from lmlab.evaluation.tasks import TASKS, Item, Task
from lmlab.evaluation.tasks.encoding import Encoder, encode_items
from lmlab.evaluation.tasks.files import read_task
from lmlab.evaluation.tasks.judging import Judged, judge
from lmlab.evaluation.tasks.outcomes import RIGHT
from lmlab.evaluation.tasks.scoring import Method, Scorer
from lmlab.evaluation.tasks.selection import select
from lmlab.evaluation.tasks.task import StyleName
from lmlab.files import write_json, write_text
from lmlab.model.build import build_model
from lmlab.model.native import native_engine
from lmlab.model.trainable import TrainableModel
from lmlab.recipe import GPT

CONTEXT = 128
"""Short enough that prompts are cut."""
SHAPE = GPT(layers=2, heads=4, width=32, context=CONTEXT, activation="gelu_tanh")
SCALE = 0.15
DOCS = Path(__file__).parents[1] / "docs"
RESULTS, PAGE = DOCS / "harness.json", DOCS / "tasks.md"
METHODS: tuple[Method, ...] = ("shared", "engine")
ADVICE = "pip install lm_eval transformers"


@dataclass(frozen=True, kw_only=True)
class Theirs:
    """How the harness is asked for a task of lmlab."""

    task: str
    record: Callable[[Item], dict[str, Any]]
    """A record of the task's original form that both read."""
    metrics: tuple[tuple[str, StyleName], ...] = (("acc", "completion"),)
    """Their metric -> the style with the same decisions."""
    changed: tuple[tuple[str, Any], ...] = ()
    """Settings of its configuration that are changed."""


def _questions(item: Item) -> tuple[str, list[str]]:
    """The question without its label, and the answers."""
    prompt = item.right.prompt.removesuffix("\nAnswer:").removeprefix("Question: ")
    return prompt, [option.answer[1:] for option in item.options]


def _arc(item: Item) -> dict[str, Any]:
    question, answers = _questions(item)
    labels = "ABCDE"[: len(answers)]
    return {"question": question, "choices": {"text": answers, "label": list(labels)}, "answerKey": labels[item.gold]}


def _open_book(item: Item) -> dict[str, Any]:
    record = _arc(item)
    return {**record, "question_stem": record.pop("question")}


def _piqa(item: Item) -> dict[str, Any]:
    goal, (first, second) = _questions(item)
    return {"goal": goal, "sol1": first, "sol2": second, "label": item.gold}


def _copa(item: Item) -> dict[str, Any]:
    premise, _, connector = item.right.prompt.rpartition(" ")
    first, second = (option.answer[1:] for option in item.options)
    kind = {"because": "cause", "therefore": "effect"}[connector]
    return {"premise": f"{premise}.", "choice1": first, "choice2": second, "question": kind, "label": item.gold}


def _boolq(item: Item) -> dict[str, Any]:
    passage, _, question = item.right.prompt.removesuffix("?\nAnswer:").partition("\nQuestion: ")
    return {"passage": passage.removeprefix("Passage: "), "question": question, "label": item.gold}


def _hellaswag(item: Item) -> dict[str, Any]:
    activity, _, begin = item.right.prompt.partition(": ")
    endings = [option.answer[1:] for option in item.options]
    return {"activity_label": activity, "ctx_a": begin, "ctx_b": "", "endings": endings, "label": str(item.gold)}


def _schema(item: Item) -> tuple[str, list[str], str]:
    """What both prompts begin with, what stands for the pronoun, and the ending."""
    prompts = [option.prompt.split(" ") for option in item.options]
    common = 0
    while prompts[0][common] == prompts[1][common]:
        common += 1
    before = "".join(f"{word} " for word in prompts[0][:common])
    return before, [" ".join(words[common:]) for words in prompts], item.right.answer[1:]


def _winogrande(item: Item) -> dict[str, Any]:
    before, (first, second), ending = _schema(item)
    return {"sentence": f"{before}_ {ending}", "option1": first, "option2": second, "answer": str(item.gold + 1)}


def _winograd(item: Item) -> dict[str, Any]:
    before, options, ending = _schema(item)
    return {
        "text": f"{before}it {ending}",
        "pronoun": "it",
        "pronoun_loc": len(before),
        "options": options,
        "label": item.gold,
    }


def _blimp(item: Item) -> dict[str, Any]:
    field, term, name = item.groups
    good, bad = (option.answer for option in item.options)
    return {"sentence_good": good, "sentence_bad": bad, "field": field, "linguistics_term": term, "UID": name}


ALONE = (("target_delimiter", ""),)
BY_LENGTH: tuple[tuple[str, StyleName], ...] = (("acc", "completion"), ("acc_norm", "normalised per byte"))
THEIRS = {
    "blimp": Theirs(
        task="blimp_adjunct_island",
        record=_blimp,
        metrics=(("acc", "whole sentence"),),
        changed=ALONE,
    ),
    "hellaswag": Theirs(task="hellaswag", record=_hellaswag, metrics=BY_LENGTH),
    "lambada": Theirs(
        task="lambada_openai", record=lambda item: {"text": item.right.text}, metrics=(("acc", "last word"),)
    ),
    "arc-easy": Theirs(task="arc_easy", record=_arc, metrics=BY_LENGTH),
    "arc-challenge": Theirs(task="arc_challenge", record=_arc, metrics=BY_LENGTH),
    "piqa": Theirs(task="piqa", record=_piqa, metrics=BY_LENGTH),
    "winogrande": Theirs(task="winogrande", record=_winogrande),
    "winograd": Theirs(task="wsc273", record=_winograd, changed=ALONE),
    "copa": Theirs(task="copa", record=_copa, changed=ALONE),
    "openbookqa": Theirs(task="openbookqa", record=_open_book, metrics=BY_LENGTH),
    "boolq": Theirs(task="boolq", record=_boolq),
}


def random_model() -> TrainableModel:
    """A small GPT with GPT-2's vocabulary and random weights."""
    model = build_model(SHAPE, load_gpt2().vocabulary_size)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(SCALE * torch.randn(tensor.shape, generator=generator))
    return model.eval()


def as_gpt2(model: TrainableModel) -> Any:
    """The same weights in Hugging Face's GPT-2."""
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = {"n_layer": SHAPE.layers, "n_head": SHAPE.heads, "n_embd": SHAPE.width, "n_positions": SHAPE.context}
    end = load_gpt2().end_of_text
    config = GPT2Config(**shape, vocab_size=model.vocabulary, bos_token_id=end, eos_token_id=end)
    theirs = GPT2LMHeadModel(config).eval()
    theirs.load_state_dict(dict(_in_their_names(model.state_dict())))
    return theirs


def _in_their_names(state: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """GPT-2's names; its linear layers hold their matrices transposed."""
    renamed = {
        "attention_norm": "ln_1",
        "attention.qkv": "attn.c_attn",
        "attention.projection": "attn.c_proj",
        "mlp_norm": "ln_2",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
    }
    outer = {"embedding": "wte", "positions": "wpe", "norm": "ln_f"}
    for name, tensor in state.items():
        part, _, kind = name.rpartition(".")
        if part in outer:
            yield f"transformer.{outer[part]}.{kind}", tensor
            continue
        _, layer, inner = part.split(".", 2)
        turned = kind == "weight" and not inner.endswith("norm")
        yield f"transformer.h.{layer}.{renamed[inner]}.{kind}", tensor.T if turned else tensor
    yield "lm_head.weight", state["embedding.weight"]


def encoder_here() -> Encoder:
    """How lmlab encodes the texts."""
    tokenizer = load_gpt2()
    return Encoder(tokenizer=tokenizer, context=CONTEXT, first=tokenizer.end_of_text)


def judged_here(task: Task, items: Sequence[Item], model: TrainableModel, method: Method) -> Judged:
    """The items scored by lmlab; LabError if the engine is wanted, and isn't there."""
    engine = native_engine(model) if method == "engine" else None
    if method == "engine" and engine is None:
        raise LabError("there is no CPU engine on this machine: expected a C++ compiler")
    scorer = Scorer(model=model, device=torch.device("cpu"), engine=engine, method=method)
    return judge(task, items, encoder_here(), scorer, corrupted=False)


def sampled_there(theirs: Theirs, path: Path, model: Any, tokenizer: Any) -> list[dict[str, Any]]:
    """The samples of the records in a file by the harness's own model class, which computes this model of transformers."""
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16, max_length=CONTEXT, device="cpu")
    return sampled_with(lm, theirs, path)


def sampled_with(lm: Any, theirs: Theirs, path: Path) -> list[dict[str, Any]]:
    """The harness's samples of the records in a file, in their order: `resps` has (log-probability, greedy) of each option."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    files = {split: str(path) for split in ("train", "validation", "test")}
    own = TaskManager().task_index[theirs.task].yaml_path
    configuration = {
        "include": str(own),
        "task": f"{theirs.task}_here",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
        **dict(theirs.changed),
    }
    # JSON is YAML.
    written = path.with_suffix(".yaml")
    written.write_text(json.dumps(configuration), encoding="utf-8")
    found = lm_eval.simple_evaluate(model=lm, tasks=[str(written)], log_samples=True, bootstrap_iters=0)
    (samples,) = found["samples"].values()
    return sorted(samples, key=lambda sample: sample["doc_id"])


def compare(
    name: str, items: Sequence[Item], folder: Path, model: TrainableModel, theirs_model: Any, tokenizer: Any
) -> dict[str, Any]:
    """Both sides' scores of some items of a task, compared option by option and item by item.

    Items with an answer longer than the context are left out: lmlab counts them as unscorable, the harness stops with an assertion.
    """
    theirs, task = THEIRS[name], TASKS[name]
    unscorable = encode_items(encoder_here(), items).unscorable
    items = [item for place, item in enumerate(items) if place not in unscorable]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(f"{json.dumps(theirs.record(item))}\n" for item in items), encoding="utf-8")
    read = read_task(task, str(path)).items
    samples = sampled_there(theirs, path, theirs_model, tokenizer)
    result: dict[str, Any] = {
        "task": name,
        "their_task": theirs.task,
        "items": len(read),
        "left_out": len(unscorable),
    }
    for method in METHODS:
        judged = judged_here(task, read, model, method)
        ours = [-judged.scores.nats[place][judged.scores.present[place]] for place in range(len(read))]
        others = [np.array([float(one[0][0]) for one in sample["resps"]]) for sample in samples]
        apart = np.concatenate([np.abs(one - other) for one, other in zip(ours, others, strict=True)])
        found = {
            "mean_nats": float(-np.concatenate(others).mean()),
            "largest_difference_nats": float(apart.max()),
            "largest_relative_difference": float((apart / -np.concatenate(others)).max()),
        }
        for metric, style in theirs.metrics:
            outcomes = judged.scores.outcomes(style) == RIGHT
            there = np.array([bool(sample[metric]) for sample in samples])
            found[f"different_{metric}"] = int(np.count_nonzero(outcomes != there))
        result |= {
            "options": len(apart),
            "cut_items": judged.encoded.cut,
            "tokens": judged.raw.work.to_json(),
            method: found,
        }
    return result


def main() -> int:
    """Compare every task that has data; print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", required=True, help="the folder of the tasks' data")
    parser.add_argument("--gpt2", required=True, type=Path, help="the folder of encoder.json and vocab.bpe")
    parser.add_argument("--items", type=int, default=200, help="items of each task")
    parser.add_argument("--only", default="", help="names of tasks, separated by commas")
    parser.add_argument(
        "--publish", action="store_true", help=f"write docs/{RESULTS.name} and the table of docs/{PAGE.name}"
    )
    flags = parser.parse_args()
    around = context(None)
    # Everything is local; the harness's libraries would ask the hub.
    os.environ.update(LMLAB_GPT2=str(flags.gpt2), HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    try:
        results = compared(flags.tasks, flags.gpt2, flags.items, tuple(filter(None, flags.only.split(","))))
    except LabError as error:
        print(f"benchmarks.harness: {error}", file=sys.stderr)
        return 1
    for result in results:
        print(json.dumps(result))
    if flags.publish:
        write_json(RESULTS, {"context": around, "items": flags.items, "results": results})
        write_text(PAGE, page(PAGE.read_text(encoding="utf-8")))
    return 0


def page(before: str) -> str:
    """The page of tasks with the table of the published comparison."""
    return fill(before, {"harness": table(json.loads(RESULTS.read_text(encoding="utf-8"))["results"])})


def table(results: Sequence[dict[str, Any]]) -> str:
    """The comparison as Markdown."""
    lines = [
        "| task | the harness's | items | options | largest relative difference: PyTorch, CPU engine | different decisions | "
        "tokens one by one | common beginnings read once |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for found in results:
        apart = ", ".join(f"{found[method]['largest_relative_difference']:.1e}" for method in METHODS)
        decisions = sum(
            value for method in METHODS for key, value in found[method].items() if key.startswith("different_")
        )
        tokens = found["tokens"]
        lines.append(
            f"| `{found['task']}` | `{found['their_task']}` | {found['items']:,} | {found['options']:,} | {apart} | {decisions} | "
            f"{tokens['one_by_one']:,} | {tokens['shared']:,} |"
        )
    return "\n".join(lines)


def compared(tasks: str, gpt2: Path, count: int, only: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The comparison of each task; LabError without the packages or the files. LMLAB_GPT2 must name the folder `gpt2`."""
    try:
        from transformers import GPT2Tokenizer
    except ImportError:
        raise LabError(f"the harness's side needs two packages: {ADVICE}") from None
    model = random_model()
    theirs = as_gpt2(model)
    tokenizer = GPT2Tokenizer(vocab=str(gpt2 / "encoder.json"), merges=str(gpt2 / "vocab.bpe"))
    results = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in only or THEIRS:
            data = read_task(TASKS[name], tasks)
            items = [data.items[place] for place in select(data.items, count, seed=1).tolist()]
            results.append(compare(name, items, Path(folder), model, theirs, tokenizer))
    return results


if __name__ == "__main__":
    sys.exit(main())
