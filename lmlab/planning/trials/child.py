"""Real training steps in a child process, so that running out of memory ends that process and not the plan.

    parent: a line of JSON on the child's standard input    (what to try)
    child:  a line of JSON on its standard output           (the result)

There is no pickle and no fork, so it's the same on every system. The child ends when its parent is gone, or when main memory runs
short (before the system starts to swap or to kill), and its parent kills it when it takes too long.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO

import lmlab
from lmlab import LabError, StorageError
from lmlab.files import TemporaryFolder, cache_folder, make_folder, remove_dead, temporary_folder
from lmlab.hardware.memory import free_memory_bytes, is_out_of_memory, out_of_memory_kills, total_memory_bytes
from lmlab.recipe import Recipe, to_toml
from lmlab.recipe.extensions import load_extensions, require_known_elsewhere
from lmlab.recipe.text import from_toml
from lmlab.scaling.estimate import Evidence
from lmlab.training.policy import Policy, read_policy

OUT_OF_MEMORY = "out of memory"
TOO_LONG = "took longer than"
"""The prefix of a failure that only means a lack of time."""
REFUSED = "refused"
"""The key of the child's answer with a failure of its disk."""
COMMAND = (sys.executable, "-P", "-m", "lmlab.planning.trials.child")
"""-P: a file in the user's folder named torch.py must not be imported."""
MARGIN_SHARE = 0.04
"""Share of main memory: a child ends when less than this is free."""
POLL_SECONDS = 0.02
LONGEST_REASON = 200
DRAFT = "trial-"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The result of trying one micro-batch and batch. Times in seconds, sizes in bytes; zeros where nothing was measured."""

    micro_batch: int
    batch: int
    step_seconds: tuple[float, ...] = ()
    """One entry per timed step, without those for warming up."""
    first_step_seconds: float = 0.0
    start_seconds: float = 0.0
    """From the start of the process to the first step."""
    build_seconds: float = 0.0
    """The part of it in which model and optimizer were built."""
    forward_tokens_per_second: float = 0.0
    """Throughput of an evaluation. This and the following fields, up to the checkpoint's bytes, come only from a whole trial."""
    sample_seconds: float = 0.0
    """Time to sample the recipe's prompts once."""
    save_seconds: float = 0.0
    """Time until a checkpoint is on the disk and has been read back."""
    save_wait_seconds: float = 0.0
    """The part of it that training waits for; less where checkpoints are written in the background."""
    load_seconds: float = 0.0
    checkpoint_bytes: int = 0
    peak_memory_bytes: int = 0
    """Peak of a whole run whose last model is its best one; of the steps alone where only these were tried."""
    peak_with_earlier_best_bytes: int = 0
    """Peak of a run that loads an earlier model to score it, which briefly adds two copies of the weights."""
    idle_memory_bytes: int = 0
    """Memory held before the model was built: Python, PyTorch and their libraries."""
    earlier_peak_bytes: int = 0
    """The peak of the process until then, such as while data was prepared."""
    processor_share: float = 1.0
    """CPU time that this process's threads received during the timed steps, as a share of what they requested: 1 on an idle
    machine."""
    extended: bool = False
    """Whether fewer layers or sequences were measured and the figures extrapolated to all."""
    counted: bool = False
    """Whether nothing was tried: time by FLOPs at the usual share of the peak of products, and counted bytes."""
    kept: bool = False
    """Whether it is a stored result of an earlier start."""
    failed: str | None = None
    """Why figures are missing: "out of memory", or another message; None on success."""

    @property
    def evidence(self) -> Evidence:
        """The kind of evidence of the figures."""
        return "formula" if self.counted else "extrapolated" if self.extended else "measured"

    @property
    def was_too_long(self) -> bool:
        """Whether there are no figures because they would have taken too long."""
        return self.failed is not None and self.failed.startswith(TOO_LONG)

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json and files."""
        return {**dataclasses.asdict(self), "step_seconds": list(self.step_seconds)}


def measure(
    recipe: Recipe,
    policy: Policy,
    data_folder: str | Path,
    *,
    micro_batch: int | None = None,
    batch: int | None = None,
    steps: int = 8,
    seconds: float = 4.0,
    whole: bool = True,
    put_back: bool = True,
    deadline_seconds: float = 120,
) -> Measurement:
    """Run steps of `recipe` on the data set in `data_folder` under `policy`, in a child process, and return the measurements.

    `micro_batch` (sequences a pass) and `batch` (sequences a step) replace the policy's and the recipe's; a batch alone is one
    pass. With `whole` the child does everything that a run does, so that its peak of memory is that of the run, and with `put_back`
    it loads the best model at the end. A failure in the child, or a time beyond `deadline_seconds`, is in the result's `failed`.
    LabError where no process can be started, or only this one can read the recipe; StorageError where the disk failed, which has no
    information about the recipe.
    """
    sequences = batch or recipe.train.batch
    passes = min(micro_batch or batch or policy.micro_batch, sequences)
    train = dataclasses.replace(recipe.train, batch=sequences, micro_batch=None)
    request = _request(dataclasses.replace(recipe, train=train), policy, passes, data_folder)
    request |= {"steps": steps, "seconds": seconds, "whole": whole, "put_back": put_back}
    with trial_folder() as work:
        found = _ask(request | {"folder": str(work.path)}, deadline_seconds)
    if REFUSED in found:
        raise StorageError(str(found[REFUSED]))
    return Measurement(micro_batch=passes, batch=sequences, **found)


def search_largest(
    recipe: Recipe,
    policy: Policy,
    data_folder: str | Path,
    *,
    most: int,
    guess: int,
    limit_bytes: int,
    deadline_seconds: float = 600,
) -> tuple[int, str]:
    """Return the largest micro-batch whose steps run within `limit_bytes`, found in one child process, and why there is none."""
    request = _request(recipe, policy, policy.micro_batch, data_folder)
    request["search"] = {"most": most, "guess": guess, "limit_bytes": limit_bytes}
    found = _ask(request, deadline_seconds)
    return int(found.get("largest", 0)), str(found.get("failed", ""))


def _request(recipe: Recipe, policy: Policy, micro_batch: int, data_folder: str | Path) -> dict[str, Any]:
    """Return what every request has. LabError where only this process can read the recipe."""
    require_known_elsewhere(recipe)
    return {
        "recipe": to_toml(recipe),
        "policy": dataclasses.replace(policy, micro_batch=micro_batch).to_json(),
        "data": str(Path(data_folder).resolve()),
        "least_free_bytes": MARGIN_SHARE * total_memory_bytes() if policy.device == "cpu" else 0,
        "started": time.time(),
    }


def trial_folder() -> contextlib.AbstractContextManager[TemporaryFolder]:
    """Create a folder on the cache's disk for a trial's checkpoint. It is removed also where a child is killed; one that a killed
    parent left is removed with a later trial."""
    place = make_folder(cache_folder() / "trials")
    remove_dead(place, DRAFT)
    return temporary_folder(place, DRAFT)


def _ask(request: dict[str, Any], deadline_seconds: float) -> dict[str, Any]:
    """Return the child's figures, or only why it `failed`."""
    kills = out_of_memory_kills()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        try:
            process = subprocess.Popen(
                COMMAND, stdin=subprocess.PIPE, stdout=out, stderr=err, text=True, encoding="utf-8", env=environment()
            )
        except OSError as error:
            raise LabError(f"no process can be started to try this recipe: {error.strerror}") from None
        try:
            _tell(process, request)
            # Its standard input stays open: the child detects by its closing that the parent is gone.
            status = process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            return {"failed": f"{TOO_LONG} {deadline_seconds:g} s"}
        finally:
            process.kill()
            process.wait()
            with contextlib.suppress(OSError):  # it may have ended before reading everything
                _stdin(process).close()
        out.seek(0)
        err.seek(0)
        return _answer(status, out.read(), err.read(), out_of_memory_kills() > kills)


def _tell(process: subprocess.Popen[str], request: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # it has ended already; its status has the reason
        _stdin(process).write(json.dumps(request) + "\n")
        _stdin(process).flush()


def _stdin(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdin is not None
    return process.stdin


def _answer(status: int, out: str, err: str, killed_for_memory: bool) -> dict[str, Any]:
    """Interpret the child's status and output."""
    lines = out.strip().splitlines()
    if status == 0 and lines:
        try:
            found = json.loads(lines[-1])
            return {**found, "step_seconds": tuple(found.get("step_seconds", ()))}
        except (ValueError, AttributeError, TypeError):
            return {"failed": f"the child's answer is none: {lines[-1][:LONGEST_REASON]}"}
    if status == -9 and killed_for_memory:
        return {"failed": OUT_OF_MEMORY}
    if status < 0:
        return {"failed": f"killed (signal {-status})"}
    said = err.strip().splitlines()
    return {"failed": said[-1][:LONGEST_REASON] if said else f"the child ended with status {status}"}


def environment() -> dict[str, str]:
    """Return this process's environment, extended so that a child imports the same lmlab and writes UTF-8."""
    here = str(Path(lmlab.__file__).resolve().parent.parent)
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    # UTF-8 regardless of the terminal: pipes on Windows have another encoding by default.
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8:backslashreplace"}


def _main(stdin: TextIO, answer: Callable[[dict[str, Any]], None]) -> None:
    request = json.loads(stdin.readline())
    threading.Thread(target=_end_with_parent, args=(stdin,), daemon=True).start()
    began: list[float] = []
    try:
        load_extensions()
        recipe, policy = from_toml(request["recipe"]), read_policy(request["policy"])
        threading.Thread(target=_give_up_in_time, args=(request["least_free_bytes"], answer), daemon=True).start()
        from lmlab.data.dataset import open_dataset
        from lmlab.planning.trials.largest import largest_in_this_process
        from lmlab.planning.trials.trial import Extent, Trial

        dataset = open_dataset(request["data"])
        if "search" in request:
            answer({"largest": largest_in_this_process(recipe, policy, dataset, **request["search"])})
            return
        trial = Trial(recipe, policy, dataset)
        extent = Extent(
            steps=request["steps"],
            seconds=request["seconds"],
            whole=request["whole"],
            put_back=request["put_back"],
            folder=Path(request["folder"]),
        )
        found = trial.go(extent, lambda: began.append(time.time()))
    except StorageError as error:
        answer({REFUSED: str(error)})
        return
    except LabError as error:
        answer({"failed": str(error)[:LONGEST_REASON]})
        return
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        answer({"failed": OUT_OF_MEMORY})
        return
    answer({**found, "start_seconds": began[0] - request["started"]})


def _end_with_parent(stdin: TextIO) -> None:
    stdin.read()
    os._exit(1)


def _give_up_in_time(least: float, answer: Callable[[dict[str, Any]], None]) -> None:
    """End this process while other processes still have memory: at less than `least` free bytes, where the system reports them."""
    while least:
        if 0 < free_memory_bytes() < least:
            answer({"failed": OUT_OF_MEMORY})
            os._exit(0)
        time.sleep(POLL_SECONDS)


def _answering() -> Callable[[dict[str, Any]], None]:
    """Return a function that writes the answer to standard output, after redirecting all other output to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(found: dict[str, Any]) -> None:
        out.write(json.dumps(found) + "\n")
        out.flush()

    return answer


if __name__ == "__main__":
    try:
        _main(sys.stdin, _answering())
    except KeyboardInterrupt:
        sys.exit(130)
    except BaseException as error:
        # Exactly one line, the last one: the parent reports it.
        print(
            f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}",
            file=sys.stderr,
        )
        sys.exit(1)
    # Exit without waiting for threads of a save or of PyTorch.
    os._exit(0)
