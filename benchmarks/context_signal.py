"""What of a token, and of the loss's gradient, comes through the layers of a context-propagation model that has learnt nothing.

    python -m benchmarks.context_signal --out benchmarks/results/context-signal.json
    python -m benchmarks.render benchmarks/results/context-signal.json   # its table in docs/studies/context-propagation.md

For the published models, the scale models of the study context-size, and the larger ones with `optim.transfer_from`: how far the
last layer's outputs of different tokens lie apart, and how large a number of the loss's gradient is in the first layer's matrix and
in the head's, all as root mean squares. Adam divides a gradient by its size plus 1e-8: numbers that are smaller than that hardly
move. Random tokens; takes seconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.machine import context as machine_context
from benchmarks.results import Measurement, Results, write_results
from benchmarks.tables import tables
from lmlab.model.context import ContextModel
from lmlab.model.initial import initialise
from lmlab.recipe import Context

PART = "signal"
VOCABULARY, ROWS, SEED = 1000, 16, 1
SIZES: dict[str, tuple[Context, tuple[int, ...]]] = {
    "published baseline: 6 layers, vector 256": (Context(layers=6, width=256, hidden=512, vector=256, dropout=0.0), ()),
    "published advanced: 12 layers, vector 512": (
        Context(layers=12, width=256, hidden=512, vector=512, dropout=0.0),
        (),
    ),
    "advanced with `optim.transfer_from = [512, 6, 256]`": (
        Context(layers=12, width=256, hidden=512, vector=512, dropout=0.0),
        (512, 6, 256),
    ),
    "scale model of the smaller: 3 layers of 96, vector 48": (
        Context(layers=3, width=48, hidden=96, vector=48, dropout=0.0),
        (),
    ),
    "scale model of the larger: 6 layers of 96, vector 96": (
        Context(layers=6, width=48, hidden=96, vector=96, dropout=0.0),
        (),
    ),
    "the same with `optim.transfer_from = [96, 3, 48]`": (
        Context(layers=6, width=48, hidden=96, vector=96, dropout=0.0),
        (96, 3, 48),
    ),
}


def measure(config: Context, transfer_from: tuple[int, ...]) -> dict[str, float]:
    """The spread of the last layer's outputs over tokens, and the size of the gradient in the first layer and in the head."""
    model = ContextModel(config, VOCABULARY)
    initialise(model, SEED, transfer_from)
    tokens = torch.randint(VOCABULARY, (ROWS, config.context + 1), generator=torch.Generator().manual_seed(SEED))
    outputs = model.layer_outputs(tokens[:, :-1])[f"block {config.layers}"].flatten(0, 1)
    (model.loss_sum(tokens[:, :-1], tokens[:, 1:]) / tokens[:, 1:].numel()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {
        "spread": rms(outputs - outputs.mean(0)),
        "first_layer_gradient": rms(gradients["blocks.0.weight"]),
        "head_gradient": rms(gradients["head.weight"]),
    }


def rms(values: torch.Tensor) -> float:
    """The root of the mean square."""
    return float(values.square().mean().sqrt())


def main() -> int:
    """Print the table, and write the results where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args()
    around = machine_context(None)
    found = [
        Measurement(case=name, side="lmlab", quantity=quantity, unit="", samples=(value,))
        for name, size in SIZES.items()
        for quantity, value in measure(*size).items()
    ]
    settings = {"threads": torch.get_num_threads(), "seed": SEED, "rows": ROWS, "vocabulary": VOCABULARY}
    results = Results(part=PART, quick=False, context=around, settings=settings, measurements=tuple(found))
    print("\n\n".join(tables([results])))
    if flags.out is not None:
        write_results(flags.out, results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
