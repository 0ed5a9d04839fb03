"""The loss of a model over a split: every token after the first is predicted once, in a fixed order, summed in float64.

    split -> windows -> logits -> nats and top-1 hits of each token -> sums by split and by unit

A sample of units is scored in exactly those windows of the whole split that hold a token of theirs, and only their own tokens
count; so a unit's bits equal those of the whole evaluation, up to the rounding of another batch.

Windows follow one another without overlap unless a stride is given, and documents may be scored by themselves: see
`lmlab.evaluation.windows`. If a training windows documents separately (`lmlab.data.windows`), each target of each of their windows
is predicted: a token in two windows counts twice, and one after a document's last window isn't counted, so that there are no bits
per byte.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import nn

from lmlab.data.ids import require_ids
from lmlab.data.windows import PADDING, Windows
from lmlab.evaluation.result import Evaluation
from lmlab.evaluation.sample import choose_units
from lmlab.evaluation.text import ScoredText, split_tokens
from lmlab.evaluation.windows import (
    OnceWindows,
    document_ranges,
    once_windows,
    stream_windows,
    unit_ranges,
    units_of,
)
from lmlab.model.loss import token_losses
from lmlab.model.trainable import TrainableModel
from lmlab.native.engine import Engine
from lmlab.stats import ratio_standard_error

LOGIT_BYTES = 64 << 20
TOKENS_AT_ONCE = {"cpu": 4096}  # measured: 2,048 to 4,096 are the fastest, 16,384 a quarter slower
TOKENS_AT_ONCE_ON_A_GPU = 32768
COUNTED_TOKENS = 4 << 20
PIECES = 64


class EvaluationStopped(Exception):
    """Raised if the caller's `stop` returns True between two batches; there is no result."""


@runtime_checkable
class Share(Protocol):
    """This process's share of an evaluation by several."""

    rank: int
    ranks: int
    lockstep: bool
    """Whether all ranks must compute each forward pass together."""

    def sums(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Return the sums of all ranks' arrays, in float64, of the shapes and dtypes given."""


def _one_stream(split: str) -> Windows | None:
    """Return None: each split is read as one stream."""
    return None


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """A model, the text that it is scored on, and settings of the computation."""

    model: nn.Module
    """Maps tokens [batch time] to logits [batch time vocabulary]."""
    text: ScoredText
    context: int
    """Tokens of a window."""
    device: torch.device
    autocast: torch.dtype | None = None
    """The dtype of PyTorch's autocast; None: no autocast."""
    engine: Engine | None = None
    """The native engine of this model, which computes the scores instead of PyTorch; None: PyTorch does."""
    documents: Callable[[str], Windows | None] = _one_stream
    """Returns the windows of a split's documents if these are windowed separately, else None."""
    stride: int | None = None
    """Tokens from one window to the next, at most the context, so that targets have more tokens before them; None: the context."""
    alone: bool = False
    """Whether each document is scored by itself: no window has tokens of two, but for the end-of-text token before it."""
    batch: int | None = None
    """Windows in a forward pass; None: chosen for the device."""
    share: Share | None = None
    """This rank's share of the windows; every rank must make the same call, and has the same scores. None: all windows."""


def evaluate_split(
    scoring: Scoring, split: str, *, units: np.ndarray | None = None, stop: Callable[[], bool] | None = None
) -> Evaluation:
    """Score the model on a split of the text, with dropout off.

    `units` are the indices of the units to score (None: the whole split). `stop` is called before each batch, equally often on each
    rank; if it returns True, EvaluationStopped is raised. Each module's training mode is restored at the end. LabError if the split
    is unknown or too short.
    """
    model, text, device = scoring.model, scoring.text, scoring.device
    began = time.perf_counter()
    tokens = split_tokens(text, split)
    every = _windows(scoring, split, tokens)
    tally = _Tally(text, split, tokens, units, per_byte=isinstance(every, OnceWindows))
    windows = np.arange(every.count) if units is None else every.over(*tally.ranges_of(units))
    if not len(windows):
        raise ValueError("none of the units to score has a token to predict")
    rows = scoring.batch or windows_at_once(scoring.context, text.vocabulary_size, device.type, _in_chunks(scoring))
    together = scoring.share is not None and scoring.share.lockstep
    with _evaluating(model, device, scoring.autocast, together):
        for group in _own_batches(windows, rows, scoring.share):
            if stop is not None and stop():
                raise EvaluationStopped
            idle = not len(group)
            if idle and not together:
                continue
            group = windows[:1] if idle else group
            positions, taken, counted = _read(tokens, group, every)
            require_ids(taken, text.vocabulary_size)
            inputs, targets = taken[:, :-1], taken[:, 1:]
            nats, hits = (
                scoring.engine.scores(inputs, targets)
                if scoring.engine is not None
                else _scores(model, inputs, targets, device)
            )
            if idle:
                continue
            tally.add(positions[:, 1:], counted[:, 1:], targets, nats.astype(np.float64), hits)
    if scoring.share is not None:
        tally.add_up(scoring.share)
    return tally.evaluation(time.perf_counter() - began)


def _windows(scoring: Scoring, split: str, tokens: np.ndarray) -> Windows | OnceWindows:
    """Return the windows in which a split is read."""
    documents = scoring.documents(split)
    if documents is not None:
        return documents
    if not scoring.alone:
        return stream_windows(len(tokens), scoring.context, scoring.stride)
    text = scoring.text
    return once_windows(
        *document_ranges(text.document_starts(split), tokens, text.end_of_text), scoring.context, scoring.stride
    )


def _read(
    tokens: np.ndarray, windows: np.ndarray, every: Windows | OnceWindows
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions in the split of the windows' tokens, the tokens, and a mask of those that count, [windows, context + 1] or
    shorter where batches are trimmed.
    """
    starts, ends = every.spans(windows)
    positions = starts[:, None] + np.arange(
        every.width(starts, ends) if isinstance(every, Windows) else every.context + 1
    )
    inside = positions < ends[:, None]
    # Beyond its end a window is padded: no position before it depends on that, and it isn't counted.
    taken = np.where(inside, tokens[np.minimum(positions, len(tokens) - 1)].astype(np.int64), PADDING)
    if isinstance(every, OnceWindows):
        inside &= positions >= every.counted_from(windows)[:, None]
    elif every.counted is not None:
        inside &= every.counts(positions)
    return positions, taken, inside


def evaluate_sample(scoring: Scoring, split: str, tokens: int, *, stop: Callable[[], bool] | None = None) -> Evaluation:
    """Call `evaluate_split` on a fixed sample of whole units with about `tokens` predicted tokens, the same at each call.

    Used for the training split too, whose loss with dropout off is comparable with that of validation.
    """
    units = sampled_units(scoring.text, split, tokens, scoring.documents(split))
    every = len(units) == len(scoring.text.units(split))
    return evaluate_split(scoring, split, units=None if every else units, stop=stop)


def sampled_units(text: ScoredText, split: str, tokens: int, documents: Windows | None = None) -> NDArray[np.int64]:
    """Return the indices of the units that `evaluate_sample` scores for about `tokens` predicted tokens."""
    length = len(split_tokens(text, split))
    # Units are chosen by their length in the split; overlapping windows predict more tokens, and windows without tails fewer.
    wanted = tokens if documents is None else -(-tokens * length // max(1, documents.targets))
    return choose_units(text.units(split), length, wanted)


def tokens_in_sample(text: ScoredText, split: str, tokens: int, documents: Windows | None = None) -> int:
    """Return the exact number of tokens that `evaluate_sample` predicts for about `tokens` requested ones."""
    starts = np.asarray(text.units(split)["start"], dtype=np.int64)
    firsts, ends = unit_ranges(starts, len(text.tokens(split)))
    chosen = sampled_units(text, split, tokens, documents)
    if documents is None:
        return int((ends - firsts)[chosen].sum())
    return int(documents.targets_in(starts[chosen], ends[chosen]).sum())


def windows_at_once(context: int, vocabulary: int, device_type: str, in_chunks: bool = False) -> int:
    """Return the windows of a forward pass: few enough tokens for the cache, and float32 logits of at most 64 MB, which doesn't
    count where they are computed `in_chunks`; at least one.
    """
    by_tokens = TOKENS_AT_ONCE.get(device_type, TOKENS_AT_ONCE_ON_A_GPU) // context
    by_logits = by_tokens if in_chunks else LOGIT_BYTES // (4 * context * vocabulary)
    return max(1, min(by_logits, by_tokens))


def _in_chunks(scoring: Scoring) -> bool:
    """Return whether the model computes logits chunk by chunk; the native engine's batches are bounded by all of them."""
    model = scoring.model
    return scoring.engine is None and isinstance(model, TrainableModel) and model.scores_in_chunks


def most_frequent_token(text: ScoredText, split: str = "train") -> int:
    """Return the most frequent token of a split, the smallest one of ties. Of more than 4M tokens only 64 evenly spaced pieces with
    4M tokens in total are counted.
    """
    tokens = text.tokens(split)
    piece = min(len(tokens), COUNTED_TOKENS) // PIECES + 1
    counts = np.zeros(text.vocabulary_size, dtype=np.int64)
    for first in np.linspace(0, max(0, len(tokens) - piece), PIECES if len(tokens) > COUNTED_TOKENS else 1):
        taken = tokens[int(first) : int(first) + piece] if len(tokens) > COUNTED_TOKENS else tokens
        require_ids(taken, len(counts))
        counts += np.bincount(taken, minlength=len(counts))
    return int(counts.argmax())


@dataclass
class _Sums:
    """Sums over the predicted tokens."""

    nats: float = 0.0
    tokens: int = 0
    hits: int = 0
    majority: int = 0
    bytes: int = 0


class _Tally:
    """Accumulates nats, hits and bytes over the split and by unit, on the host in float64."""

    def __init__(
        self, text: ScoredText, split: str, tokens: np.ndarray, units: np.ndarray | None, per_byte: bool
    ) -> None:
        self.split = split
        self.length = len(tokens)
        self.starts = np.ascontiguousarray(text.units(split)["start"], dtype=np.int64)
        self.whole = units is None
        self.chosen = np.full(len(self.starts), units is None)
        if units is not None:
            self.chosen[units] = True
        self.majority = most_frequent_token(text)
        self.token_bytes = text.token_bytes() if text.lossless and per_byte else None
        self.sums = _Sums()
        self.unit_nats = np.zeros(len(self.starts))
        self.unit_tokens = np.zeros(len(self.starts), dtype=np.int64)

    def ranges_of(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        firsts, ends = unit_ranges(self.starts, self.length)
        return firsts[units], ends[units]

    def add(
        self, positions: np.ndarray, inside: np.ndarray, targets: np.ndarray, nats: np.ndarray, hits: np.ndarray
    ) -> None:
        """Add a batch. All five arrays have one shape: positions of the targets, whether they aren't padding, the targets, their
        nats, and whether they were the top-1 prediction.
        """
        units = units_of(positions, self.starts)
        counted = inside & self.chosen[units]
        units, targets, nats = units[counted], targets[counted], nats[counted]
        self.sums.nats += float(nats.sum())
        self.sums.tokens += len(targets)
        self.sums.hits += int(hits[counted].sum())
        self.sums.majority += int(np.count_nonzero(targets == self.majority))
        if self.token_bytes is not None:
            self.sums.bytes += int(self.token_bytes[targets].sum(dtype=np.int64))
        # a batch holds few of the units, and bincount makes an array as long as its largest number
        low = int(units.min()) if len(units) else 0
        by_unit = np.bincount(units - low, weights=nats)
        self.unit_nats[low : low + len(by_unit)] += by_unit
        self.unit_tokens[low : low + len(by_unit)] += np.bincount(units - low)

    def add_up(self, share: Share) -> None:
        """Replace all sums by those over all ranks."""
        names = [entry.name for entry in dataclasses.fields(_Sums)]
        own = np.array([getattr(self.sums, name) for name in names], dtype=np.float64)
        whole, self.unit_nats, self.unit_tokens = share.sums([own, self.unit_nats, self.unit_tokens])
        self.sums = _Sums(
            **{name: type(getattr(self.sums, name))(value) for name, value in zip(names, whole, strict=True)}
        )

    def evaluation(self, seconds: float) -> Evaluation:
        sums = self.sums
        unit_nats = np.where(self.chosen, self.unit_nats, np.nan)
        known = self.token_bytes is not None
        return Evaluation(
            split=self.split,
            tokens=sums.tokens,
            loss=sums.nats / sums.tokens,
            standard_error=ratio_standard_error(unit_nats, self.unit_tokens),
            accuracy=sums.hits / sums.tokens,
            majority_accuracy=sums.majority / sums.tokens,
            bytes=sums.bytes if known else None,
            bits_per_byte=sums.nats / math.log(2.0) / sums.bytes if known and sums.bytes else None,
            bits_per_unit=unit_nats / math.log(2.0),
            tokens_per_unit=self.unit_tokens,
            seconds=seconds,
            whole=self.whole,
        )


def _scores(
    model: nn.Module,
    inputs: Int[NDArray[np.int64], "batch time"],
    targets: Int[NDArray[np.int64], "batch time"],
    device: torch.device,
) -> tuple[Float[NDArray[np.floating], "batch time"], Bool[NDArray[np.bool_], "batch time"]]:
    """Return the nats of each target, at least in float32, and whether it had the largest logit."""
    wanted = torch.from_numpy(targets).to(device)
    tokens = torch.from_numpy(inputs).to(device)
    if isinstance(model, TrainableModel):
        nats, hits = model.scores(tokens, wanted)
    else:
        logits = model(tokens)
        nats, hits = token_losses(logits, wanted), logits.argmax(dim=-1) == wanted
    return nats.cpu().numpy(), hits.cpu().numpy()


def _batches(windows: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yield the windows in groups of at most `most`, of nearly equal size, so that compiled models get few shapes."""
    yield from np.array_split(windows, -(-len(windows) // most))


def _own_batches(windows: np.ndarray, most: int, share: Share | None) -> Iterator[np.ndarray]:
    """Yield this rank's batches of the windows: as many on each rank, the last of which may be empty."""
    if share is None:
        yield from _batches(windows, most)
        return
    batches = list(_batches(windows, most))
    for first in range(0, len(batches), share.ranks):
        place = first + share.rank
        yield batches[place] if place < len(batches) else windows[:0]


@contextlib.contextmanager
def _evaluating(model: nn.Module, device: torch.device, autocast: torch.dtype | None, together: bool) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    arithmetic = torch.autocast(device.type, dtype=autocast) if autocast is not None else contextlib.nullcontext()
    model.eval()
    try:
        # FSDP keeps gathered weights beyond the pass, which inference mode would make unusable for training.
        with torch.no_grad() if together else torch.inference_mode(), arithmetic:
            yield
    finally:
        for module, training in modes:
            module.training = training
