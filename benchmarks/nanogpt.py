"""nanoGPT's side, in a worker process: its model, optimizer and batches, imported from a checkout that the user has.

Nothing of nanoGPT is here. Its model is a module; its batches are a function in the middle of a script, which is taken out
of the script's source and given the names that it uses.
"""

from __future__ import annotations

import ast
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.shapes import Shape
from benchmarks.turns import Unavailable, Work

DATA = "shakespeare_char"
BETAS, RATE, WEIGHT_DECAY, CLIP = (0.9, 0.99), 1e-3, 0.1, 1.0
"""Those of its config/train_shakespeare_char.py."""


def training(threads: int, shape: dict[str, Any], checkout: str, compiled: bool) -> Work:
    """Whole training steps as its train.py makes them: its batch, its model, its optimizer, clipping, the loss read."""
    import torch

    torch.set_num_threads(threads)
    wanted = Shape(**shape)
    model, vocabulary = build(Path(checkout), wanted)
    optimizer = model.configure_optimizers(WEIGHT_DECAY, RATE, BETAS, "cpu")
    get_batch = batch_function(Path(checkout), wanted)
    called = torch.compile(model) if compiled else model
    parameters = list(model.parameters())

    def run(steps: int) -> None:
        for _ in range(steps):
            inputs, targets = get_batch("train")
            _, loss = called(inputs, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss.item()

    facts = {"tokens": wanted.batch * wanted.context, "parameters": counts(model), "vocabulary": vocabulary}
    return Work(run=run, facts=facts)


def generation(threads: int, shape: dict[str, Any], checkout: str, streams: int) -> Work:
    """Its model.generate from one newline to the last token of the context."""
    import torch

    torch.set_num_threads(threads)
    wanted = Shape(**shape)
    model, _ = build(Path(checkout), wanted)
    model.eval()
    # Its character ids are in the order of the characters, and a newline is the first.
    newline = torch.zeros(streams, 1, dtype=torch.long)

    def run(generations: int) -> None:
        for _ in range(generations):
            model.generate(newline, wanted.context - 1, temperature=0.8, top_k=200)

    return Work(run=run, facts={"tokens": streams * (wanted.context - 1), "parameters": counts(model)})


def batches(threads: int, shape: dict[str, Any], checkout: str) -> Work:
    """Its batches of that shape."""
    import torch

    torch.set_num_threads(threads)
    wanted = Shape(**shape)
    get_batch = batch_function(Path(checkout), wanted)

    def run(count: int) -> None:
        for _ in range(count):
            get_batch("train")

    return Work(run=run, facts={"tokens": wanted.batch * wanted.context})


def build(checkout: Path, shape: Shape) -> tuple[Any, int]:
    """Its model at that shape, and the vocabulary of its data."""
    module = load_model_module(checkout)
    vocabulary = prepared_vocabulary(checkout)
    config = module.GPTConfig(
        block_size=shape.context,
        vocab_size=vocabulary,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_embd=shape.width,
        dropout=0.0,
        bias=False,
    )
    return module.GPT(config), vocabulary


def load_model_module(checkout: Path) -> ModuleType:
    """Its model.py; Unavailable where there is none."""
    path = checkout / "model.py"
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise Unavailable(f"{checkout} has no model.py: expected a checkout of nanoGPT")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prepared_vocabulary(checkout: Path) -> int:
    """How many characters its prepared data has; Unavailable where it isn't prepared."""
    import numpy as np

    path = checkout / "data" / DATA / "train.bin"
    if not path.is_file():
        raise Unavailable(f"{path} isn't there: run data/{DATA}/prepare.py of the checkout first")
    # Every character of the alphabet is in the training split, or it couldn't be learnt.
    return int(np.fromfile(path, dtype=np.uint16).max()) + 1


def batch_function(checkout: Path, shape: Shape) -> Callable[[str], tuple[Any, Any]]:
    """The function get_batch of its train.py, for that shape."""
    import numpy
    import torch

    script = ast.parse((checkout / "train.py").read_text(encoding="utf-8"))
    found = [node for node in script.body if isinstance(node, ast.FunctionDef) and node.name == "get_batch"]
    if not found:
        raise Unavailable(f"{checkout / 'train.py'} has no function get_batch: expected a checkout of nanoGPT")
    names: dict[str, Any] = {
        "np": numpy,
        "torch": torch,
        "os": os,
        "data_dir": str(checkout / "data" / DATA),
        "block_size": shape.context,
        "batch_size": shape.batch,
        "device": "cpu",
        "device_type": "cpu",
    }
    exec(compile(ast.Module(body=[found[0]], type_ignores=[]), str(checkout / "train.py"), "exec"), names)
    function: Callable[[str], tuple[Any, Any]] = names["get_batch"]
    return function


def counts(model: Any) -> dict[str, int]:
    """Its trained numbers, tied ones once."""
    total = sum(parameter.numel() for parameter in model.parameters())
    return {"total": total, "lookup_tables": 0, "without_tables": total}
