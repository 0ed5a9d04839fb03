"""Log-probabilities of answers: the nats of each request's scored tokens, and whether each of these was the likeliest one.

    requests -> distinct sequences -> groups with a common beginning -> batches of similar length -> nats by request

Equal sequences are computed once. Of a group (the answers to one question) PyTorch's GPT reads the common beginning once into a
cache, from a copy of which each sequence continues; logits are computed only where a token is scored, so sequences that differ in
their last token alone cost as much as one. The CPU engine and other families read each distinct sequence whole. The engine computes
where the model has one, unless common beginnings save a factor of more than ENGINE_LEAD in multiplications.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from lmlab import LabError
from lmlab.data.ids import require_ids
from lmlab.evaluation.tasks.groups import (
    Group,
    Reading,
    Request,
    Work,
    batches_of,
    groups_of,
    readings_of,
    singles,
    work_of,
)
from lmlab.model.cost import block_matrices
from lmlab.model.families import family_of
from lmlab.model.gpt import GPTModel
from lmlab.model.loss import IGNORED
from lmlab.model.trainable import TrainableModel
from lmlab.native.engine import Engine

LOGIT_BYTES = 64 << 20
TOKENS_AT_ONCE = {"cpu": 4096}
TOKENS_AT_ONCE_ON_A_GPU = 32768
ENGINE_LEAD = 2.0
"""By how much PyTorch must need fewer multiplications than the engine to be preferred: the engine does the same ones faster."""

Method = Literal["engine", "shared", "whole"]
"""engine: the CPU engine reads whole sequences; shared: PyTorch reads common beginnings once; whole: PyTorch, whole sequences."""


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model in evaluation mode, and what computes it."""

    model: TrainableModel
    device: torch.device
    autocast: torch.dtype | None = None
    """The dtype of PyTorch's autocast; None: no autocast."""
    engine: Engine | None = None
    """The native engine of this model; None: PyTorch computes."""
    method: Method | None = None
    """How it is computed; None: chosen for the requests."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """The result for a list of requests, in their order."""

    nats: Float[NDArray[np.float64], " requests"]
    """Minus the log-probability of all scored tokens together."""
    greedy: NDArray[np.bool_]
    """[requests]: whether each scored token had a larger logit than every other; by the engine, as large as any."""
    method: Method
    work: Work


def score(scorer: Scorer, requests: Sequence[Request], advance: Callable[[int], None] = lambda size: None) -> Scores:
    """Return the scores of the requests; `advance` is called with the sizes of those that are done.

    LabError if a token isn't in the vocabulary, or a score isn't finite.
    """
    readings = readings_of(requests)
    for reading in readings:
        require_ids(reading.tokens, scorer.model.vocabulary)
    groups = groups_of(requests, readings)
    work = work_of(requests, readings, groups)
    method = scorer.method or _method(scorer, work)
    nats, greedy = np.zeros(len(requests)), np.zeros(len(requests), dtype=np.bool_)
    arranged = groups if method == "shared" else singles(readings)
    with _evaluating(scorer):
        for batch in batches_of(arranged, _most_tokens(scorer, method), scorer.model.context):
            compute = _by_engine if method == "engine" else _by_torch
            for reading, (own_nats, own_hits) in compute(scorer, batch):
                for place in reading.requests:
                    begin = requests[place].first - reading.first
                    nats[place] = own_nats[begin:].sum()
                    greedy[place] = own_hits[begin:].all()
            advance(sum(requests[place].size for group in batch for one in group.readings for place in one.requests))
    if not np.isfinite(nats).all():
        raise LabError("the model's scores aren't finite: its weights have diverged; score another checkpoint")
    return Scores(nats=nats, greedy=greedy, method=method, work=work)


Tokens = tuple[NDArray[np.float64], NDArray[np.bool_]]
"""The nats of a reading's scored tokens, and whether each was the likeliest one."""


def _method(scorer: Scorer, work: Work) -> Method:
    model = scorer.model
    if scorer.engine is None or not isinstance(model, GPTModel):
        return "engine" if scorer.engine is not None else "shared" if isinstance(model, GPTModel) else "whole"
    body = block_matrices(model.config, model.vocabulary)
    head = model.vocabulary * family_of(model.config).head_inputs(model.config)
    shared = work.shared * body + work.scored * head
    return "shared" if work.distinct * (body + head) > ENGINE_LEAD * shared else "engine"


def _most_tokens(scorer: Scorer, method: Method) -> int:
    """Return the tokens of a batch: few enough for the cache, and for the logits where those of all tokens are computed."""
    most = TOKENS_AT_ONCE.get(scorer.device.type, TOKENS_AT_ONCE_ON_A_GPU)
    return min(most, _logits_at_once(scorer.model.vocabulary)) if method == "whole" else most


def _logits_at_once(vocabulary: int) -> int:
    return max(1, LOGIT_BYTES // (4 * vocabulary))


@contextlib.contextmanager
def _evaluating(scorer: Scorer) -> Iterator[None]:
    """Context without gradients, in the scorer's precision."""
    kind = scorer.device.type
    arithmetic = (
        torch.autocast(kind, dtype=scorer.autocast) if scorer.autocast is not None else contextlib.nullcontext()
    )
    with torch.inference_mode(), arithmetic:
        yield


def _by_engine(scorer: Scorer, batch: Sequence[Group]) -> Iterator[tuple[Reading, Tokens]]:
    """Yield the scores of readings that are read whole by the CPU engine."""
    assert scorer.engine is not None
    readings = [group.readings[0] for group in batch]
    longest = max(reading.inputs for reading in readings)
    inputs = np.zeros((len(readings), longest), dtype=np.int64)
    targets = np.full((len(readings), longest), IGNORED, dtype=np.int64)
    for row, reading in enumerate(readings):
        inputs[row, : reading.inputs] = reading.tokens[:-1]
        targets[row, reading.first - 1 : reading.inputs] = reading.tokens[reading.first :]
    nats, hits = scorer.engine.scores(inputs, targets)
    for row, reading in enumerate(readings):
        scored = slice(reading.first - 1, reading.inputs)
        yield reading, (nats[row, scored].astype(np.float64), hits[row, scored])


def _by_torch(scorer: Scorer, batch: Sequence[Group]) -> Iterator[tuple[Reading, Tokens]]:
    """Yield the scores of readings whose common beginnings PyTorch reads once."""
    outputs, readings, places = _read(scorer, batch)
    targets = np.concatenate([reading.tokens[reading.first :] for reading in readings])
    nats, hits = _scored(scorer.model, outputs, np.concatenate(places), targets)
    ends = np.cumsum([len(reading.tokens) - reading.first for reading in readings])
    for reading, begin, end in zip(readings, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        yield reading, (nats[begin:end], hits[begin:end])


def _read(
    scorer: Scorer, batch: Sequence[Group]
) -> tuple[Float[Tensor, "positions output"], list[Reading], list[NDArray[np.int64]]]:
    """Return the model's outputs after each token that was read, the readings, and for each the rows of the outputs that predict
    its scored tokens. Outputs are a GPT's residual stream, and another model's logits."""
    model, device = scorer.model, scorer.device
    shared = _padded([group.readings[0].tokens[: group.shared] for group in batch]).to(device)
    width = shared.shape[1]
    members = [(row, reading) for row, group in enumerate(batch) for reading in group.readings]
    readings = [reading for _, reading in members]
    going_on = [(row, reading) for row, reading in members if reading.inputs > batch[row].shared]
    if not going_on:
        plain = (
            model.stream(shared, torch.arange(width, device=device), None)
            if isinstance(model, GPTModel)
            else model(shared)
        )
        return (
            plain.flatten(0, 1),
            readings,
            [row * width + np.arange(one.first - 1, one.inputs) for row, one in members],
        )
    assert isinstance(model, GPTModel)
    rest = _padded([reading.tokens[batch[row].shared : -1] for row, reading in going_on]).to(device)
    cache = model.start_cache(len(batch), width + rest.shape[1])
    begun = _advance(model, cache, shared, [group.shared for group in batch])
    cache.select([row for row, _ in going_on])
    continued = _advance(model, cache, rest, [reading.inputs - batch[row].shared for row, reading in going_on])
    line = {id(reading): place for place, (_, reading) in enumerate(going_on)}
    places = []
    for row, reading in members:
        columns = np.arange(reading.first - 1, reading.inputs)
        behind = len(batch) * width + line.get(id(reading), 0) * rest.shape[1] - batch[row].shared
        places.append(columns + np.where(columns < batch[row].shared, row * width, behind))
    return torch.cat([begun.flatten(0, 1), continued.flatten(0, 1)]), readings, places


def _advance(
    model: GPTModel, cache: Any, tokens: Int[Tensor, "batch new"], lengths: Sequence[int]
) -> Float[Tensor, "batch new width"]:
    """Read new tokens into the cache; return the residual stream after each."""
    found: Tensor = model.continued(tokens, cache)
    cache.advance(tokens, lengths)
    return found


def _padded(rows: Sequence[NDArray[np.int64]]) -> Int[Tensor, "rows longest"]:
    found = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for place, row in enumerate(rows):
        found[place, : len(row)] = row
    return torch.from_numpy(found)


def _scored(
    model: TrainableModel,
    outputs: Float[Tensor, "positions output"],
    places: Int[NDArray[np.int64], " scored"],
    targets: Int[NDArray[np.int64], " scored"],
) -> Tokens:
    """Return the nats of each target at its row of the outputs, and whether it alone has the largest logit."""
    rows, place_of = np.unique(places, return_inverse=True)
    nats, hits = np.empty(len(targets)), np.empty(len(targets), dtype=np.bool_)
    order = np.argsort(place_of, kind="stable")
    step = _logits_at_once(model.vocabulary)
    for begin in range(0, len(rows), step):
        low, high = np.searchsorted(place_of[order], [begin, begin + step])
        here = order[low:high]
        chosen = outputs[torch.from_numpy(rows[begin : begin + step]).to(outputs.device)]
        logits = model.logits(chosen.unsqueeze(0)).squeeze(0) if isinstance(model, GPTModel) else chosen
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        of = torch.from_numpy(place_of[here] - begin).to(logits.device)
        wanted = logits[of, torch.from_numpy(targets[here]).to(logits.device)]
        largest = logits.amax(dim=-1)
        alone = (logits == largest.unsqueeze(-1)).sum(dim=-1) == 1
        nats[here] = (logits.logsumexp(dim=-1)[of] - wanted).cpu().double().numpy()
        hits[here] = ((wanted == largest[of]) & alone[of]).cpu().numpy()
    return nats, hits
