"""Training by several processes that torchrun starts, all of which run the same program (SPMD).

    torchrun --nproc-per-node 2 -m -- lmlab train RECIPE

Rank 0 prepares: data, forecast, the run's folder. Then every rank builds the same training and runs the same loop. A batch is a
function of (seed, cursor), and every decision one of loss and gradient norm. So a step exchanges only the gradients and one small
vector (`exchange`): the loss, and the requests to stop, save or pause. Rank 0 alone writes files. Only tensors of numbers and JSON
texts are sent; nothing is pickled.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as distributed
from jaxtyping import Shaped
from torch import Tensor

from lmlab import LabError

START_TIMEOUT = datetime.timedelta(minutes=5)
"""How long the ranks wait for each other at the start, when each only has to import PyTorch."""
STEP_TIMEOUT = datetime.timedelta(minutes=10)
"""How long a rank waits in a collective; rank 0 may be saving or writing samples meanwhile."""
POLL_SECONDS = 0.05
OVER = "over"
LOST = ("connection", "socket", "gloo", "nccl", "broken pipe", "timed out", "process group")
"""Words of PyTorch's errors of communication; all others are of the computation."""


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


def local_device(device: str) -> str:
    """Return this rank's device: its own GPU if `device` is cuda, else `device`."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device.startswith("cuda") else device


def own_share(count: int) -> slice:
    """Return which of `count` things, such as a batch's rows, are this rank's; the ranks' numbers differ by at most one."""
    return slice(*(count * number // ranks() for number in (rank(), rank() + 1)))


def require_shares(batch: int) -> None:
    """Raise a LabError if there are more ranks than sequences in a batch."""
    if batch < ranks():
        raise LabError(
            f"train.batch {batch} is too small for {ranks()} processes: expected at least one sequence for each"
        )


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """Context of rank 0's command. At its end the other ranks are told that nothing more comes.

    A RankLost that arrives here is from before the training, because the training loop handles its own.
    """
    if ranks() == 1:
        yield
        return
    try:
        try:
            _connect()
            yield
        except RankLost as lost:
            raise RankLost(f"{lost} before the training: run the same command again") from None
    finally:
        _tell_over()
        leave_group()


def announce(work: dict[str, Any]) -> None:
    """Send the description of a training from rank 0 to all ranks, and create the process group if it doesn't exist yet."""
    _set("work", json.dumps(work))
    _join_group()


def await_work() -> dict[str, Any] | None:
    """Wait on another rank for the description of a training; None where rank 0 has ended. RankLost where it has died."""
    store = _connect()
    while not _checked(store.check, ["work"]):
        if _checked(store.check, [OVER]):
            return None
        time.sleep(POLL_SECONDS)
    found: dict[str, Any] = json.loads(store.get("work"))
    _join_group()
    return found


def is_over() -> bool:
    """Return whether rank 0 has said that its command has ended; False where that can't be known.

    Only a store that torchrun's own process holds can be asked once rank 0's process is gone.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return False
    try:
        return bool(_connect().check([OVER]))
    except (RuntimeError, RankLost):
        return False


def all_sum(tensor: Shaped[Tensor, ...]) -> Shaped[Tensor, ...]:
    """Replace the tensor by its sum over all ranks, in place, with the same bits on each rank, and return it."""
    collective(distributed.all_reduce, tensor)
    return tensor


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Copy rank 0's values into the tensors of the same shapes on all ranks."""
    for tensor in tensors:
        collective(distributed.broadcast, tensor.detach(), 0)


def broadcast_json(value: Any = None) -> Any:
    """Return rank 0's `value` on all ranks."""
    text = bytearray(json.dumps(value).encode()) if rank() == 0 else bytearray()
    length = torch.tensor([len(text)])
    broadcast([length])
    buffer = torch.frombuffer(text, dtype=torch.uint8) if rank() == 0 else torch.zeros(int(length), dtype=torch.uint8)
    broadcast([buffer])
    return json.loads(bytes(buffer.tolist()))


def collective(operation: Callable[..., Any], *arguments: Any) -> Any:
    """Call an operation that communicates. If it fails for want of a rank, leave the group, so that the others notice, and raise
    RankLost."""
    try:
        return operation(*arguments)
    except RuntimeError as error:
        if not _is_of_communication(error):
            raise
        cause = _cause(error)
    # Outside of the handler, because the error's frames hold references to the group.
    leave_group()
    # The error doesn't tell which of several ranks was lost.
    who = f"rank {1 - rank()}" if ranks() == 2 else "a rank"
    raise RankLost(f"{who} has gone ({cause})")


def before_leaving(close: Callable[[], object]) -> None:
    """Register a function that releases what holds a reference to the process group; it's called before the group is destroyed."""
    _closers.append(close)


def leave_group() -> None:
    """Destroy the process group if there is one: threads of open connections could crash the process when it ends.

    Collectives of the other ranks fail from then on. Signals are ignored from here on: torchrun signals all ranks once one of them
    has failed, and must not interrupt this process while it saves.
    """
    if not distributed.is_initialized():
        return
    _ignore_signals()
    while _closers:
        _closers.pop()()
    # If a collective has raised an exception, the frames in its traceback hold references to the group, and so to its threads.
    error = sys.exception()
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
    gc.collect()
    distributed.destroy_process_group()


def _ignore_signals() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


_closers: list[Callable[[], object]] = []
"""Functions that release what holds references to the group, and so to its threads."""
_stores: list[Any] = []
"""The store of this process's ranks, once it is connected."""


def _connect() -> Any:
    """Return the store of all ranks, once every rank is connected. RankLost if one doesn't appear in time."""
    if _stores:
        return _stores[0]
    # Polled here, because init_process_group would wait for a missing rank in C++, where Python can't handle signals.
    store, number, count = next(distributed.rendezvous("env://", timeout=START_TIMEOUT))  # type: ignore[attr-defined]
    # torchrun keeps its store when it starts the ranks again.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = distributed.PrefixStore(f"lmlab {attempt}", store)  # type: ignore[attr-defined]
    store.set(f"rank {number}", "here")
    deadline = time.monotonic() + START_TIMEOUT.total_seconds()
    while not store.check([f"rank {other}" for other in range(count)]):
        if time.monotonic() > deadline:
            raise RankLost(
                f"not all of {count} processes had connected after {START_TIMEOUT.total_seconds() / 60:.0f} minutes"
            )
        time.sleep(POLL_SECONDS)
    _stores.append(store)
    return store


def _join_group() -> None:
    """Create the process group if it doesn't exist yet."""
    if distributed.is_initialized():
        return
    # This module's functions have the default group as a default argument. PyTorch imports it with the first optimizer: after
    # init_process_group, that would keep the group and its threads alive until the process ends, and a thread that frees a
    # tensor at that point aborts the process. Imported before, it holds no group.
    import torch.distributed.nn.functional  # noqa: F401

    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        # Else whatever names no device would take memory on the first GPU in every process.
        torch.cuda.set_device(torch.device(local_device("cuda")))
    store = _connect()
    collective(
        lambda: distributed.init_process_group(
            backend, store=store, rank=rank(), world_size=ranks(), timeout=STEP_TIMEOUT
        )
    )


def _set(key: str, value: str) -> None:
    _checked(_connect().set, key, value)


def _tell_over() -> None:
    if _stores:
        with contextlib.suppress(RuntimeError):
            _stores[0].set(OVER, "1")


def _checked(operation: Callable[..., Any], *arguments: Any) -> Any:
    """Call an operation of the store; RankLost where the process that holds it is gone."""
    try:
        return operation(*arguments)
    except RuntimeError as error:
        raise RankLost(f"rank 0 has gone ({_cause(error)})") from None


def _is_of_communication(error: RuntimeError) -> bool:
    kinds = (distributed.DistError, distributed.DistBackendError, distributed.DistNetworkError)
    return isinstance(error, kinds) or any(word in str(error).lower() for word in LOST)


def _cause(error: RuntimeError) -> str:
    """Return the message of PyTorch's error without the source location in front and the general advice at its end."""
    text = str(error).partition("\n")[0]
    return text[text.find("] ") + 2 if text.startswith("[") else 0 :].partition(". This is")[0][:200]
