"""Data-parallel training by several processes that torchrun starts.

    torchrun --nproc-per-node 2 -m -- lmlab train RECIPE

Rank 0 does all that a single process does: it prepares data, decides, evaluates, saves, handles signals, and writes every file.
It broadcasts to the others the model's settings, its parameters, and at each step the batch. Each rank computes the gradients of
its rows, an all-reduce sums them, and each rank makes the same update. So a batch is the same for any number of ranks, and all
decisions are rank 0's. Only tensors of numbers and a JSON text are sent; nothing is pickled.
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
"""Commands of rank 0."""
COMMAND_LENGTH = 5
"""Numbers of a command's message: the command and its arguments."""
FOLLOWER_TIMEOUT = datetime.timedelta(days=7)
"""How long the other ranks wait for rank 0, which may be preparing data or evaluating meanwhile."""
START_TIMEOUT = datetime.timedelta(minutes=5)
"""How long the ranks wait for each other at the start, when each only has to import PyTorch."""
POLL_SECONDS = 0.05


class RankLost(LabError):
    """Raised if a collective fails because another rank's process has ended or its machine is unreachable.

    In a step, all collectives come before the update, so that weights, optimizer and state are those of the boundary before it.
    """

    status = 3


def rank() -> int:
    """Return this process's rank; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def ranks() -> int:
    """Return the number of processes that train together (the world size); 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_ranks() -> int:
    """Return the number of ranks on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def launcher() -> str:
    """Return the torchrun prefix of a command that starts as many processes as there are now; empty for one."""
    if ranks() == 1:
        return ""
    nodes = "" if ranks() == local_ranks() else f"--nnodes {-(-ranks() // local_ranks())} "
    return f"torchrun {nodes}--nproc-per-node {local_ranks()} -m -- "


def join_group() -> None:
    """Create the process group if there are several ranks and it doesn't exist yet. RankLost if a rank doesn't join in time."""
    if ranks() > 1 and not distributed.is_initialized():
        # This module's functions have the default group as a default argument. PyTorch imports it with the first optimizer: after
        # init_process_group, that would keep the group and its threads alive until the process ends, and a thread that frees a
        # tensor at that point aborts the process. Imported before, it holds no group.
        import torch.distributed.nn.functional  # noqa: F401

        _collective(_rendezvous)


def leave_group() -> None:
    """Destroy the process group if there is one: threads of open connections could crash the process when it ends.

    Collectives of the other ranks fail from then on. Signals are ignored from here on: torchrun signals all ranks once one of them
    has failed, and must not interrupt this process while it saves.
    """
    if not distributed.is_initialized():
        return
    ignore_signals()
    # If a collective has raised an exception, the frames in its traceback hold references to the group, and so to its threads.
    error = sys.exception()
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
    distributed.destroy_process_group()


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """Context of rank 0's work: join the group at the beginning, and send the end command at the end.

    After an exception other than a LabError no command is sent, since the others may be waiting for tensors; they notice the
    closed connection. A RankLost that arrives here is from before the training, because the training loop handles its own.
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
    """Return the rows of a batch that this rank computes; the ranks' numbers of rows differ by at most one."""
    share = [rows * number // ranks() for number in (rank(), rank() + 1)]
    return slice(*share)


def local_device(device: str) -> str:
    """Return this rank's device: its own GPU if `device` is cuda, else `device`."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device.startswith("cuda") else device


def require_shares(batch: int) -> None:
    """Raise a LabError if there are more ranks than sequences in a batch."""
    if batch < ranks():
        raise LabError(
            f"train.batch {batch} is too small for {ranks()} processes: expected at least one sequence for each"
        )


def send_set_up(value: dict[str, Any], tensors: Iterable[Tensor]) -> None:
    """Send the set-up of a training, and the values of `tensors`, from rank 0 to all ranks."""
    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    _send_command(SET_UP, len(text))
    _broadcast(text)
    broadcast_tensors(tensors)


def broadcast_tensors(tensors: Iterable[Tensor]) -> None:
    """Copy rank 0's values into the tensors of the same shapes on all ranks."""
    for tensor in tensors:
        _broadcast(tensor.detach())


def send_batch(inputs: np.ndarray, targets: np.ndarray, counted: int, step: int, scale: float) -> None:
    """Send a step's batch (both int64 [batch, time]) and loss scale from rank 0 to all ranks."""
    _send_command(STEP, *inputs.shape, counted, step)
    _broadcast(torch.tensor([scale], dtype=torch.float64))
    _broadcast(torch.from_numpy(np.stack([inputs, targets])))


def receive_command() -> tuple[int, tuple[int, ...]]:
    """Wait for rank 0's next command; return it and its arguments."""
    words = torch.zeros(COMMAND_LENGTH, dtype=torch.int64)
    _broadcast(words)
    return int(words[0]), tuple(words[1:].tolist())


def receive_set_up(length: int) -> dict[str, Any]:
    """Receive the set-up value of `send_set_up`, whose text is `length` bytes long."""
    text = torch.zeros(length, dtype=torch.uint8)
    _broadcast(text)
    found: dict[str, Any] = json.loads(bytes(text.tolist()))
    return found


def receive_batch(rows: int, time: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Receive loss scale, inputs and targets of a step."""
    scale = torch.zeros(1, dtype=torch.float64)
    _broadcast(scale)
    both = torch.zeros((2, rows, time), dtype=torch.int64)
    _broadcast(both)
    return float(scale), both[0].numpy(), both[1].numpy()


def all_reduce(tensors: list[Tensor]) -> None:
    """Replace each tensor by its sum over all ranks, in place, with the same bits on each rank."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    _collective(distributed.all_reduce, flat)
    first = 0
    for tensor in tensors:
        tensor.copy_(flat[first : first + tensor.numel()].view_as(tensor))
        first += tensor.numel()


def send_decision(limit: float | None, share: float) -> None:
    """Send the update's clipping limit (None: no update) and share of the peak learning rate from rank 0 to all ranks."""
    _broadcast(_decision(limit, share))


def receive_decision() -> tuple[float | None, float]:
    """Receive the update's clipping limit (None: no update) and share of the peak learning rate."""
    words = _decision(None, 0.0)
    _broadcast(words)
    return (float(words[1]) if words[0] else None), float(words[2])


def ignore_signals() -> None:
    """Ignore stop signals on ranks other than 0: rank 0 receives the same signals, and sends the end command."""
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
    """Send the end command to the other ranks, if the group exists; a lost rank is ignored."""
    if distributed.is_initialized():
        with contextlib.suppress(RankLost):
            _send_command(END)


def _broadcast(tensor: Tensor) -> None:
    """Copy rank 0's values into the same tensor on every rank."""
    _collective(distributed.broadcast, tensor, 0)


def _rendezvous() -> None:
    """Create the group once every rank is present."""
    # Polled here, because init_process_group would wait for a missing rank in C++, where Python can't handle signals.
    store, number, count = next(distributed.rendezvous("env://", timeout=START_TIMEOUT))  # type: ignore[attr-defined]
    store.set(f"rank {number}", "here")
    deadline = time.monotonic() + START_TIMEOUT.total_seconds()
    while not store.check([f"rank {other}" for other in range(count)]):
        if time.monotonic() > deadline:
            raise RankLost(
                f"not all of {count} processes had connected after {START_TIMEOUT.total_seconds() / 60:.0f} minutes"
            )
        time.sleep(POLL_SECONDS)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=store, rank=number, world_size=count, timeout=START_TIMEOUT)
    distributed.distributed_c10d._set_pg_timeout(FOLLOWER_TIMEOUT)


def _collective(operation: Callable[..., object], *arguments: object) -> None:
    """Call a collective operation. If it fails, leave the group, so that the other ranks notice as well, and raise RankLost."""
    try:
        operation(*arguments)
        return
    except RuntimeError as error:
        cause = _cause(error)
    # Outside of the handler, because the error's frames hold references to the group.
    leave_group()
    # The error doesn't tell which of several ranks was lost.
    who = f"rank {1 - rank()}" if ranks() == 2 else "a rank"
    raise RankLost(f"{who} has gone ({cause})")


def _cause(error: RuntimeError) -> str:
    """Return the message of PyTorch's error without the source location in front and the general advice at its end."""
    text = str(error).partition("\n")[0]
    return text[text.find("] ") + 2 if text.startswith("[") else 0 :].partition(". This is")[0][:200]
