"""A training step of the context-propagation model, forward and backward: lmlab's by either engine against the loop that anybody
would write.

    python -m benchmarks.recurrence --batches 32 2048 --rounds 5 --out benchmarks/results/recurrence.json
    python -m benchmarks.render benchmarks/results/*.json                # its table in docs/performance.md

All have the same weights, tokens and dropout share and run in one process, in turns, so that what slows the machine slows all.
"lmlab native" is the native engine's kernel, where there is one; "lmlab torch" the loop of lmlab's model by PyTorch.
The matrix multiplications of the step alone are PyTorch's, in the shapes and order that the recurrence forces on them: no way of
computing it with these products is faster. The peak is the FLOP/s of multiply-adds in registers alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.machine import context as machine_context
from benchmarks.results import Measurement, Results, compare_all, write_results
from benchmarks.tables import tables
from lmlab.hardware.threads import use_threads
from lmlab.model.context import ContextModel
from lmlab.model.cost import flops_per_token
from lmlab.model.initial import initialise
from lmlab.model.recurrence_native import kernel_for
from lmlab.native.peak import multiply_add_flops
from lmlab.recipe import Context

VOCABULARY = 1000
SIZES = {
    "baseline": Context(layers=6, width=256, hidden=512, vector=256, context=63, dropout=0.1),
    "advanced": Context(layers=12, width=256, hidden=512, vector=512, context=63, dropout=0.1),
}
PART = "recurrence"
NATIVE, TORCH, PRODUCTS, PLAIN = "lmlab native", "lmlab torch", "products alone", "plain loop"
STEP, PEAK = "step", "peak"
NEAR = 1e-3
"""How far the two sides' losses may lie apart, in nats a token, without dropout."""


class PlainLoop(nn.Module):
    """The equations as modules, a token at a time, with autograd's gradients."""

    def __init__(self, config: Context, vocabulary: int) -> None:
        super().__init__()
        self.vector = config.vector
        self.embedding = nn.Embedding(vocabulary, config.width)
        widths = [config.width + config.vector] + [config.hidden] * config.layers
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers)
        self.candidate, self.forget, self.admit = (nn.Linear(config.hidden, config.vector) for _ in range(3))
        self.norm = nn.LayerNorm(config.vector)
        self.head = nn.Linear(config.hidden, vocabulary)

    def loss_sum(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The sum of nats over the targets."""
        embedded = self.embedding(tokens)
        vector = embedded.new_zeros(len(tokens), self.vector)
        logits = []
        for step in range(tokens.shape[1]):
            hidden = self.layers(torch.cat((embedded[:, step], vector), dim=-1))
            logits.append(self.head(hidden))
            forget, admit = torch.sigmoid(self.forget(hidden)), torch.sigmoid(self.admit(hidden))
            vector = torch.clamp(self.norm(forget * vector + admit * self.candidate(hidden)), -10, 10)
        return F.cross_entropy(torch.stack(logits, dim=1).flatten(0, 1), targets.flatten(), reduction="sum")

    def take_over(self, model: ContextModel) -> None:
        """Have the numbers of lmlab's model."""
        state = model.state_dict()
        own = {name: state[name] for name in state if name.split(".")[0] in ("embedding", "norm", "head")}
        for kind in ("weight", "bias"):
            own |= {f"layers.{3 * layer}.{kind}": state[f"blocks.{layer}.{kind}"] for layer in range(len(model.blocks))}
            parts = state[f"gates.{kind}"].split(self.vector)
            own |= {f"{name}.{kind}": part for name, part in zip(("candidate", "forget", "admit"), parts, strict=True)}
        self.load_state_dict(own)


def products(config: Context, batch: int, device: torch.device) -> Callable[[], None]:
    """The step's multiplications alone: forward and back in time at `batch` rows, all else over batch x time rows."""
    steps = config.context
    rows = torch.randn(batch, config.hidden, device=device)
    vector = torch.randn(batch, config.vector, device=device)
    opened = torch.randn(batch, 3 * config.vector, device=device)
    every = torch.randn(batch * steps, config.hidden, device=device)
    vectors = torch.randn(batch * steps, config.vector, device=device)
    gates = torch.randn(batch * steps, 3 * config.vector, device=device)
    logits = torch.randn(batch * steps, VOCABULARY, device=device)
    hidden, reading = (torch.randn(config.hidden, size, device=device) for size in (config.hidden, config.vector))
    gating, head = (torch.randn(size, config.hidden, device=device) for size in (3 * config.vector, VOCABULARY))

    def run() -> None:
        for _ in range(steps):
            vector @ reading.t()
            for _ in range(config.layers - 1):
                rows @ hidden.t()
            rows @ gating.t()
        every @ head.t()
        logits @ head
        for _ in range(steps):
            opened @ gating
            for _ in range(config.layers - 1):
                rows @ hidden
            rows @ reading
        every.t() @ vectors
        for _ in range(config.layers - 1):
            every.t() @ every
        gates.t() @ every
        logits.t() @ every

    return run


def measure(name: str, batch: int, rounds: int, device: torch.device) -> list[Measurement]:
    """Seconds a step of each side by round, and on a CPU the FLOP/s of multiply-adds in registers."""
    config = SIZES[name]
    ours, plain = ContextModel(config, VOCABULARY), PlainLoop(config, VOCABULARY)
    initialise(ours, 0)
    plain.take_over(ours)
    ours.to(device), plain.to(device)
    tokens, targets = (torch.randint(VOCABULARY, (batch, config.context)).to(device) for _ in range(2))
    with torch.no_grad():
        ours.eval(), plain.eval()
        losses = [float(side.loss_sum(tokens, targets)) / tokens.numel() for side in (ours, plain)]
        ours.train(), plain.train()
    if abs(losses[0] - losses[1]) > NEAR:
        raise AssertionError(f"the two sides compute different losses: {losses}")

    def step(side: ContextModel | PlainLoop, engine: Literal["auto", "torch"] = "auto") -> Callable[[], None]:
        def run() -> None:
            if isinstance(side, ContextModel):
                side.engine = engine
            for parameter in side.parameters():
                parameter.grad = None
            (side.loss_sum(tokens, targets) / tokens.numel()).backward()

        return run

    sides = {PLAIN: step(plain), PRODUCTS: products(config, batch, device), TORCH: step(ours, "torch")}
    if kernel_for(ours, config, ours.embedding.weight) is not None:
        sides[NATIVE] = step(ours)
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(rounds + 1):
        for side, run in sides.items():
            taken = _timed(run, device)
            if turn:  # the first round warms up
                seconds[side].append(taken)
    threads = torch.get_num_threads()
    place = f"{threads} thread{'s' if threads > 1 else ''}" if device.type == "cpu" else str(device)
    case = f"{config.layers} layers, vector {config.vector}, batch {batch}, {place}"
    details = {"size": name, "flops": flops_per_token(config, VOCABULARY).training * tokens.numel()}
    found = [
        Measurement(case=case, side=side, quantity=STEP, unit="s", samples=tuple(some), details=details)
        for side, some in seconds.items()
    ]
    if device.type == "cpu" and (peak := multiply_add_flops(threads)):
        found.append(Measurement(case=case, side="registers", quantity=PEAK, unit="FLOP/s", samples=(peak,)))
    return found


def _timed(run: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> int:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--batches", nargs="+", type=int, default=[32, 2048])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: the physical cores")
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args()
    around = machine_context(None)
    threads = use_threads(flags.threads)
    found: list[Measurement] = []
    for name in flags.sizes:
        for batch in flags.batches:
            found += measure(name, batch, flags.rounds, torch.device(flags.device))
    results = Results(
        part=PART,
        quick=False,
        context=around,
        settings={"threads": threads, "rounds": flags.rounds, "device": flags.device},
        measurements=tuple(found),
        comparisons=tuple(one for one in compare_all(found) if one.against == PLAIN),
    )
    print("\n\n".join(tables([results])))
    if flags.out is not None:
        write_results(flags.out, results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
