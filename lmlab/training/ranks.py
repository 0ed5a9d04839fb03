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
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed
from torch import Tensor

from lmlab import LabError

END, SET_UP, STEP = 0, 1, 2
"""What rank 0 may say."""
COMMAND_LENGTH = 5
"""The word, and the numbers that belong to it."""
FOLLOWER_TIMEOUT = datetime.timedelta(days=7)
"""A follower waits so long for rank 0, which may be preparing data or evaluating meanwhile."""
START_TIMEOUT = datetime.timedelta(minutes=5)
"""The ranks wait so long for each other at the start, where each has only to import PyTorch."""
POLL_SECONDS = 0.05


class RankLost(LabError):
    """A collective failed, because the process of another rank has ended or its machine is gone.

    In a step, every collective comes before the update, so that weights, optimizer and state are those of the boundary before it.
    """

    status = 3


def rank() -> int:
    """This process's number; 0 leads, and is the only one where torchrun started none."""
    return int(os.environ.get("RANK", "0"))


def ranks() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_ranks() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def launcher() -> str:
    """What a command begins with that starts as many processes as there are now; empty for one."""
    if ranks() == 1:
        return ""
    nodes = "" if ranks() == local_ranks() else f"--nnodes {-(-ranks() // local_ranks())} "
    return f"torchrun {nodes}--nproc-per-node {local_ranks()} -m -- "


def join_group() -> None:
    """Meet the other ranks; nothing where there are none, or where that was done. RankLost where one doesn't come."""
    if ranks() > 1 and not distributed.is_initialized():
        # This module's functions have the default group as a default argument. PyTorch imports it with the first optimizer: after
        # init_process_group, that would keep the group and its threads until the process ends, and a thread that then frees a
        # tensor aborts the process. Imported before, it keeps nothing.
        import torch.distributed.nn.functional  # noqa: F401

        _collective(_rendezvous)


def leave_group() -> None:
    """Leave the group, where there is one: a process that ended with open connections could die of the threads that serve them.

    The others' collectives fail then. This process ends by itself from here on: torchrun, which signals all ranks once one of them
    has failed, must not interrupt what is left to save.
    """
    if not distributed.is_initialized():
        return
    ignore_signals()
    # Where an exception came out of a collective, the frames in its traceback hold the group, and so its threads.
    error = sys.exception()
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
    distributed.destroy_process_group()


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """While rank 0 works: the others are met, and told at the end that it's over.

    Where something else than a LabError comes, they find that out by the connection, since they may wait for numbers. A RankLost
    that comes this far is from before the training, which saves where it meets one.
    """
    if ranks() == 1:
        yield
        return
    try:
        try:
            join_group()
            yield
        except RankLost as lost:
            raise RankLost(f"{lost} before the training: run the same command again") from None
        except LabError:
            _send_end()
            raise
        _send_end()
    finally:
        leave_group()


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
    _send_command(SET_UP, len(text))
    _broadcast(text)
    broadcast_tensors(tensors)


def broadcast_tensors(tensors: Iterable[Tensor]) -> None:
    """Rank 0's numbers into everybody's tensors of the same shapes."""
    for tensor in tensors:
        _broadcast(tensor.detach())


def send_batch(inputs: np.ndarray, targets: np.ndarray, counted: int, step: int, scale: float) -> None:
    """Rank 0 tells a step: its batch, int64 [batch, time] both, and what the gradients are scaled by."""
    _send_command(STEP, *inputs.shape, counted, step)
    _broadcast(torch.tensor([scale], dtype=torch.float64))
    _broadcast(torch.from_numpy(np.stack([inputs, targets])))


def receive_command() -> tuple[int, tuple[int, ...]]:
    """What rank 0 says, and the numbers that belong to it."""
    words = torch.zeros(COMMAND_LENGTH, dtype=torch.int64)
    _broadcast(words)
    return int(words[0]), tuple(words[1:].tolist())


def receive_set_up(length: int) -> dict[str, Any]:
    """The value of a set-up."""
    text = torch.zeros(length, dtype=torch.uint8)
    _broadcast(text)
    return json.loads(bytes(text.tolist()))


def receive_batch(rows: int, time: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, inputs and targets of a step."""
    scale = torch.zeros(1, dtype=torch.float64)
    _broadcast(scale)
    both = torch.zeros((2, rows, time), dtype=torch.int64)
    _broadcast(both)
    return float(scale), both[0].numpy(), both[1].numpy()


def all_reduce(tensors: list[Tensor]) -> None:
    """Each tensor becomes its sum over all ranks, with the same bits on each of them."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    _collective(distributed.all_reduce, flat)
    first = 0
    for tensor in tensors:
        tensor.copy_(flat[first : first + tensor.numel()].view_as(tensor))
        first += tensor.numel()


def send_decision(limit: float | None, share: float) -> None:
    """Rank 0 tells what becomes of the update: its clipping limit, or None for no update, and its share of the rate."""
    _broadcast(_decision(limit, share))


def receive_decision() -> tuple[float | None, float]:
    """The clipping limit, or None for no update, and the share of the rate."""
    words = _decision(None, 0.0)
    _broadcast(words)
    return (float(words[1]) if words[0] else None), float(words[2])


def ignore_signals() -> None:
    """A follower ends when rank 0 says so, which hears the same signals; torchrun kills what outlives that."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _decision(limit: float | None, share: float) -> Tensor:
    return torch.tensor([float(limit is not None), limit or 0.0, share], dtype=torch.float64)


def _send_command(word: int, *numbers: int) -> None:
    words = torch.zeros(COMMAND_LENGTH, dtype=torch.int64)
    words[: 1 + len(numbers)] = torch.tensor([word, *numbers])
    _broadcast(words)


def _send_end() -> None:
    """Tell the others that it's over. Where one of them has gone, there is nobody left to tell."""
    if distributed.is_initialized():
        with contextlib.suppress(RankLost):
            _send_command(END)


def _broadcast(tensor: Tensor) -> None:
    """Rank 0's numbers into the same tensor of every rank."""
    _collective(distributed.broadcast, tensor, 0)


def _rendezvous() -> None:
    """Make the group once every rank is there."""
    # Asked for here, because init_process_group waits in C++, where no signal is heard, for a rank that died before it came.
    store, number, count = next(distributed.rendezvous("env://", timeout=START_TIMEOUT))
    store.set(f"rank {number}", "here")
    deadline = time.monotonic() + START_TIMEOUT.total_seconds()
    while not store.check([f"rank {other}" for other in range(count)]):
        if time.monotonic() > deadline:
            raise RankLost(
                f"not all of {count} processes had come together after {START_TIMEOUT.total_seconds() / 60:.0f} minutes"
            )
        time.sleep(POLL_SECONDS)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=store, rank=number, world_size=count, timeout=START_TIMEOUT)
    distributed.distributed_c10d._set_pg_timeout(FOLLOWER_TIMEOUT)


def _collective(operation: Callable[..., object], *arguments: object) -> None:
    """Do what takes all ranks; RankLost where that fails. The group is left then, so that the others notice as well."""
    try:
        operation(*arguments)
        return
    except RuntimeError as error:
        cause = _cause(error)
    # Outside of the handler: the error's frames hold the group.
    leave_group()
    # Which of several it was, the error doesn't tell.
    who = f"rank {1 - rank()}" if ranks() == 2 else "a rank"
    raise RankLost(f"{who} has gone ({cause})")


def _cause(error: RuntimeError) -> str:
    """What PyTorch says of a failed connection, less the line of its source before and the general advice behind."""
    text = str(error).partition("\n")[0]
    return text[text.find("] ") + 2 if text.startswith("[") else 0 :].partition(". This is")[0][:200]
