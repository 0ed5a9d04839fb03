"""Training by several processes that torchrun starts: one leads the run, the others compute their share of each batch.

    torchrun --nproc-per-node 2 -m -- lmlab train RECIPE

Rank 0 does all that one process does: it prepares data, decides, evaluates, saves, hears signals, and writes every file. The
others follow: they are told the model, its numbers, and at each step the batch; each computes the gradients of its rows, all
gradients are added up, and each makes the same update. So a batch is the same for any number of ranks, and there is nothing that
ranks could disagree about. What is sent are tensors of numbers and a JSON text, nothing is pickled.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed
from torch import Tensor

from lmlab import LabError

END, SET_UP, STEP = 0, 1, 2
"""What rank 0 may say."""
WORDS = 5
"""The word, and the numbers that belong to it."""
PATIENCE = datetime.timedelta(days=7)
"""A follower waits so long for rank 0, which may be preparing data or evaluating meanwhile."""


def rank() -> int:
    """This process's number; 0 leads, and is the only one where torchrun started none."""
    return int(os.environ.get("RANK", "0"))


def ranks() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_ranks() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def gather() -> None:
    """Meet the other ranks; nothing where there are none, or where that was done."""
    if ranks() > 1 and not distributed.is_initialized():
        # This module's functions have the default group as a default argument. PyTorch imports it with the first optimizer: after
        # init_process_group, that would keep the group and its threads until the process ends, and a thread that then frees a
        # tensor aborts the process. Imported before, it keeps nothing.
        import torch.distributed.nn.functional  # noqa: F401

        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE)


def part() -> None:
    """Close the connections; a process that ended with open ones could die of the threads that serve them."""
    distributed.destroy_process_group()


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """While rank 0 works: the others are met, and told at the end that it's over.

    Where something else than a LabError comes, they find that out by the connection, since they may wait for numbers.
    """
    if ranks() == 1:
        yield
        return
    gather()
    try:
        yield
    except LabError:
        _say(END)
        part()
        raise
    _say(END)
    part()


def own_rows(rows: int) -> slice:
    """The rows of a batch that this rank computes: as many as the others', or one more."""
    share = [rows * number // ranks() for number in (rank(), rank() + 1)]
    return slice(*share)


def local_device(device: str) -> str:
    """The device of this rank where all take GPUs: each its own."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device.startswith("cuda") else device


def require_shares(batch: int) -> None:
    """LabError where there are more ranks than sequences in a batch."""
    if batch < ranks():
        raise LabError(
            f"train.batch {batch} is too small for {ranks()} processes: expected at least one sequence for each"
        )


def send_set_up(value: dict[str, Any], tensors: Iterable[Tensor]) -> None:
    """Rank 0 tells what is trained, and the numbers of all of `tensors`."""
    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    _say(SET_UP, len(text))
    distributed.broadcast(text, 0)
    send_numbers(tensors)


def send_numbers(tensors: Iterable[Tensor]) -> None:
    """Rank 0's numbers into everybody's tensors of the same shapes."""
    for tensor in tensors:
        distributed.broadcast(tensor.detach(), 0)


def send_batch(inputs: np.ndarray, targets: np.ndarray, counted: int, step: int, scale: float) -> None:
    """Rank 0 tells a step: its batch, int64 [batch, time] both, and what the gradients are scaled by."""
    _say(STEP, *inputs.shape, counted, step)
    distributed.broadcast(torch.tensor([scale], dtype=torch.float64), 0)
    distributed.broadcast(torch.from_numpy(np.stack([inputs, targets])), 0)


def receive() -> tuple[int, tuple[int, ...]]:
    """What rank 0 says, and the numbers that belong to it."""
    words = torch.zeros(WORDS, dtype=torch.int64)
    distributed.broadcast(words, 0)
    return int(words[0]), tuple(words[1:].tolist())


def receive_text(length: int) -> dict[str, Any]:
    """The value of a set-up."""
    text = torch.zeros(length, dtype=torch.uint8)
    distributed.broadcast(text, 0)
    return json.loads(bytes(text.tolist()))


def receive_batch(rows: int, time: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, inputs and targets of a step."""
    scale = torch.zeros(1, dtype=torch.float64)
    distributed.broadcast(scale, 0)
    both = torch.zeros((2, rows, time), dtype=torch.int64)
    distributed.broadcast(both, 0)
    return float(scale), both[0].numpy(), both[1].numpy()


def add_up(tensors: list[Tensor]) -> None:
    """Each tensor becomes its sum over all ranks, with the same bits on each of them."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat)
    first = 0
    for tensor in tensors:
        tensor.copy_(flat[first : first + tensor.numel()].view_as(tensor))
        first += tensor.numel()


def send_decision(limit: float | None, share: float) -> None:
    """Rank 0 tells what becomes of the update: its clipping limit, or None for no update, and its share of the rate."""
    distributed.broadcast(_decision(limit, share), 0)


def receive_decision() -> tuple[float | None, float]:
    """The clipping limit, or None for no update, and the share of the rate."""
    words = _decision(None, 0.0)
    distributed.broadcast(words, 0)
    return (float(words[1]) if words[0] else None), float(words[2])


def ignore_signals() -> None:
    """A follower ends when rank 0 says so, which hears the same signals; torchrun kills what outlives that."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _decision(limit: float | None, share: float) -> Tensor:
    return torch.tensor([float(limit is not None), limit or 0.0, share], dtype=torch.float64)


def _say(word: int, *numbers: int) -> None:
    words = torch.zeros(WORDS, dtype=torch.int64)
    words[: 1 + len(numbers)] = torch.tensor([word, *numbers])
    distributed.broadcast(words, 0)
