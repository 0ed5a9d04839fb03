"""The training and evaluation settings: length, batches, devices, checkpoints, evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lmlab.recipe.setting import setting

PrecisionName = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
CompileName = Literal["auto", "on", "off"]
ENGINES = ["auto", "native", "torch"]
"""Words for `train.engine`; `lmlab.training.engines.add_engine` adds one."""
OnSpikeName = Literal["note", "skip", "rewind"]
KeepOptimizerName = Literal["all", "latest"]
KeepFinishedName = Literal["auto", "all", "least"]
ShardName = Literal["auto", "on", "off"]
InheritName = Literal["all", "weights"]
BackgroundName = Literal["auto", "on", "off"]
FinalName = Literal["whole", "sample"]

MOST_STEPS = 10**12 - 1
"""The largest step that a checkpoint's name holds."""
MOST_SEQUENCES = 1 << 24
MOST_THREADS = 1024


@dataclass(frozen=True, kw_only=True)
class Train:
    """Length, batch, seed, and the policy of this machine."""

    steps: int = setting(1000, at_least=1, at_most=MOST_STEPS)
    """Optimizer steps."""
    epochs: float | None = setting(None, above=0.0, at_most=1e9)
    """Epochs, passes over the training split; where given, they decide the steps."""
    batch: int = setting(16, at_least=1, at_most=MOST_SEQUENCES)
    """Sequences a step, over all micro-batches."""
    seed: int = setting(1, at_least=0, at_most=2**63 - 1)
    """Determines initialisation, batch order and dropout."""
    patience: int = setting(0, at_least=0)
    """Stop after this many evaluations without a better validation loss; 0: never."""
    minimum_gain: float = setting(0.0, at_least=0.0, came_later=True)
    """Improvement in nats a token that resets patience; the best model is kept however small its improvement."""
    inherit: InheritName = setting("all", came_later=True)
    """What a branch takes from its parent. all: weights, and the optimizer's state (its moments) where the optimizers are of one
    kind; weights: the optimizer begins anew.
    """
    tolerate: int = setting(5, at_least=1)
    """Stop after this many steps in a row whose loss or gradient was not finite."""
    spike: float = setting(8.0, at_least=0.0, came_later=True)
    """A loss or gradient norm this many standard deviations above its recent mean is a spike; 0: off."""
    on_spike: OnSpikeName = setting("note", came_later=True)
    """note: write a black box and continue; skip: skip the update; rewind: back to a checkpoint and past these batches."""
    rewinds: int = setting(5, at_least=1, policy=True)
    """Stop at the next spike after this many rewinds."""
    micro_batch: int | None = setting(None, at_least=1, policy=True)
    """Sequences per forward pass; must divide the batch. If smaller, the gradients of several passes are summed before each
    update (gradient accumulation). None: the whole batch on a CPU, what fits on a GPU.
    """
    device: str = setting("auto", policy=True)
    """cpu, cuda, cuda:1, mps, or auto: the fastest one here."""
    threads: int = setting(0, at_least=0, at_most=MOST_THREADS, policy=True)
    """CPU threads; 0: one per physical core."""
    precision: PrecisionName = setting("auto", policy=True)
    """Arithmetic of the matrix multiplications; auto: the best that the device supports well."""
    compile: CompileName = setting("auto", policy=True)
    """torch.compile: on, off, or auto: if it helps and is available."""
    shard: ShardName = setting("auto", policy=True)
    """Of several processes each holds a part of weights and optimizer state: on, off, or auto: if they don't fit on each GPU."""
    deterministic: bool = setting(False, policy=True)
    """Only deterministic algorithms on an NVIDIA GPU: slower, and a run that is resumed there is then equal bit for bit, as it
    always is on a CPU."""
    engine: str = setting("auto", choices=ENGINES, policy=True)
    """What computes the step on a CPU. native: lmlab's own compiled kernels; torch: PyTorch's; auto: the faster one here."""
    checkpoint_every: int = setting(250, at_least=1, policy=True)
    """Steps between checkpoints."""
    keep: int = setting(2, at_least=1, policy=True)
    """How many of the latest checkpoints are kept while it trains (the first and the best always are)."""
    keep_every: int = setting(0, at_least=0, policy=True)
    """Also keep a checkpoint every this many steps; 0: none."""
    keep_optimizer: KeepOptimizerName = setting("all", policy=True)
    """all: training can continue exactly from every kept checkpoint; latest: older ones keep their weights only."""
    keep_finished: KeepFinishedName = setting("auto", policy=True)
    """Checkpoints of a finished run. least: the latest and the best; all: those of the training; auto: least if it took less
    than 10 minutes and train.keep and keep_every don't request more.
    """
    disk: str | None = setting(None, policy=True)
    """Limit of the disk space for checkpoints, such as 20GB: older ones keep only weights, then are removed (none: no limit)."""
    background: BackgroundName = setting("auto", policy=True)
    """Write checkpoints while training continues: on, off, or auto: if they are large."""
    until: str | None = setting(None, policy=True)
    """Save and stop after this time, such as 2h or 1h30m, counted from the command's start (none: no limit)."""
    log_every: int = setting(10, at_least=1, policy=True)
    """Steps between lines of metrics.jsonl."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """When and on what the model is evaluated while it trains, and what the final figures are computed on."""

    every: int = setting(250, at_least=1)
    """Steps between evaluations."""
    share: float = setting(0.05, above=0.0, at_most=1.0)
    """Largest share of the training time for evaluations; beyond it a fixed sample of the split is scored instead."""
    tokens: int | None = setting(None, at_least=1)
    """Score about this many validation tokens at each evaluation during training (none: as many as the share allows)."""
    final: FinalName = setting("whole", came_later=True)
    """What the final figures are computed on: whole: the whole validation split; sample: the sample that evaluations score."""
    prompts: tuple[str, ...] = setting((), policy=True)
    """Prompts sampled at each evaluation into samples.jsonl."""
    sample_tokens: int = setting(100, at_least=1, at_most=1 << 20, policy=True)
    """Tokens generated for each prompt."""
