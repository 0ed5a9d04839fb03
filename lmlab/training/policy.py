"""The policy: how a recipe is executed on this machine, with the reason for each choice.

It is chosen once, saved in the run's policy.json and reused by resume: sums differ between thread counts, kernels and precisions,
so a run that changes any of these is no longer bit-equal to the original run.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from lmlab import LabError
from lmlab.hardware.compile import choose_compile
from lmlab.hardware.cpu import physical_cores
from lmlab.hardware.device import choose_device
from lmlab.hardware.machine import detect
from lmlab.hardware.precision import choose_precision
from lmlab.hardware.threads import use_threads
from lmlab.model.families import family_of
from lmlab.native.library import Library, load
from lmlab.optim.kinds import kind_of
from lmlab.recipe import Recipe
from lmlab.recipe.divisors import largest_divisor
from lmlab.recipe.train import ENGINES, MOST_THREADS
from lmlab.training.memory import choose_sharding, device_memory_bytes, micro_batch
from lmlab.training.parallel import local_device, local_ranks, ranks, require_shares

FORMAT = 1
DTYPES = {"none": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEVICE = re.compile(r"cpu|mps(:0)?|cuda(:[0-9]{1,3})?")
LATER_FIELDS = {"engine": "torch", "engine_identity": "", "ranks": 1, "deterministic": False, "sharded": False}
"""Values of fields that a policy.json of an older version lacks."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Device, threads, arithmetic, compilation, engine and micro-batch of a run on this machine."""

    device: str
    threads: int
    precision: str
    autocast: str
    scaler: bool
    tf32: bool
    compile: bool
    deterministic: bool
    """Whether a GPU uses deterministic algorithms only."""
    engine: str
    """The engine that computes the step: native (lmlab's CPU kernels), torch, or a registered one."""
    engine_identity: str
    """The build of the native engine: another compiler or version may round sums differently. Empty for torch."""
    micro_batch: int
    """Sequences of a micro-batch."""
    ranks: int
    """Number of processes that train together, each on its share of a batch."""
    sharded: bool
    """Whether each process holds a part of weights and optimizer state instead of all of them."""
    reasons: dict[str, str]
    """Field -> why its value was chosen."""

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The dtype of matrix multiplications under autocast; None without autocast."""
        return DTYPES[self.autocast]

    @property
    def element_bytes(self) -> int:
        """The size of the operands of matrix products."""
        return 4 if self.autocast_dtype is None else self.autocast_dtype.itemsize

    @property
    def update_products(self) -> torch.dtype | None:
        """The dtype of the matrix products of an update (Muon's): that of autocast on CUDA, elsewhere None, the parameters' own.

        So fp32 stays fp32, and a GPU that only emulates bf16 computes them in fp16.
        """
        return self.autocast_dtype if self.torch_device.type == "cuda" else None

    @property
    def torch_device(self) -> torch.device:
        """The torch.device of this process; each rank has its own GPU."""
        return torch.device(self.device if self.ranks == 1 else local_device(self.device))

    @property
    def repeatable(self) -> bool:
        """Whether two runs with equal `exactness` on one machine have equal bits: some of a GPU's sums are in varying order."""
        return self.device == "cpu" or (self.device.startswith("cuda") and self.deterministic)

    def exactness(self) -> dict[str, Any]:
        """Return the fields that determine the bits of a run on one machine, where it is `repeatable`."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "reasons"}

    def to_json(self) -> dict[str, Any]:
        """Return the value for policy.json."""
        return {"format": FORMAT, **dataclasses.asdict(self)}


def choose_policy(
    recipe: Recipe, say: Callable[[str], object] | None = None, identity: str = "", vocabulary: int = 0
) -> Policy:
    """Return the policy for `recipe` on this machine. LabError if its settings can't be satisfied here.

    `vocabulary` is the number of logits of a token, whose memory limits the micro-batch on a GPU. `say` (default: print to standard
    error) is called with a line if the native engine has to be built. `identity` is the build that a run began with; it is used
    instead of the newest one if it is still available.
    """
    train = recipe.train
    if train.lora_rank and ranks() > 1:
        raise LabError("train.lora_rank trains in one process: start it without torchrun, or use --train.lora_rank 0")
    if train.deterministic:
        _fix_cublas_workspace()
    device = choose_device(train.device)
    precision = choose_precision(train.precision, device)
    sharded = choose_sharding(recipe, device, vocabulary, precision.element_bytes, ranks())
    compiled, compile_reason = _choose_compile(recipe, device)
    if sharded:
        compiled, compile_reason = False, "its weights are sharded"
    engine, build, engine_reason = choose_engine(recipe, device, precision.name, compiled, say, identity)
    # Ranks on one machine share its cores.
    threads = use_threads(train.threads or max(1, physical_cores() // local_ranks()))
    require_shares(train.batch)
    size, size_reason = micro_batch(
        recipe, vocabulary, device.type, device_memory_bytes(device), precision.element_bytes
    )
    dtype = next(name for name, value in DTYPES.items() if value == precision.autocast)
    return Policy(
        device=str(device),
        threads=threads,
        precision=precision.name,
        autocast=dtype,
        scaler=precision.scaler,
        tf32=precision.tf32,
        compile=compiled,
        deterministic=train.deterministic and device.type == "cuda",
        engine=engine,
        engine_identity=build,
        micro_batch=size,
        ranks=ranks(),
        sharded=sharded,
        reasons={
            "precision": precision.reason,
            "compile": compile_reason,
            "engine": engine_reason,
            "micro_batch": size_reason,
        },
    )


def choose_engine(
    recipe: Recipe,
    device: torch.device,
    precision: str,
    compiled: bool,
    say: Callable[[str], object] | None = None,
    identity: str = "",
) -> tuple[str, str, str]:
    """Return (the engine, its build, the reason) for `recipe.train.engine`, given the rest of the policy.

    The build of this `identity` is used if it exists, else the newest. LabError if native is requested and isn't available.
    """
    requested = recipe.train.engine
    if requested not in ("auto", "native"):
        if requested != "torch" and ranks() > 1:
            raise LabError(f"train.engine {requested} can't train by several processes: use torch")
        return requested, "", "requested"
    lacking = _no_native_engine(recipe, device, precision, compiled)
    if lacking is None:
        loaded = load(say, identity)
        if identity and not isinstance(loaded, Library):
            loaded = load(say)
        if isinstance(loaded, Library):
            why = "requested" if requested == "native" else "the faster one on a CPU"
            return "native", loaded.identity, f"{why}; built by {loaded.build.compiler}"
        lacking = loaded.reason
    if requested == "native":
        raise LabError(f"the native engine can't be used: {lacking}; or use --train.engine torch")
    return "torch", "", f"the native engine can't be used: {lacking}"


def read_policy(value: Any) -> Policy:
    """Return the policy in a run's policy.json. LabError if it is invalid."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else None
        raise LabError(f"policy.json has format {str(found)[:20]}: expected {FORMAT}")
    value = {**LATER_FIELDS, **value}
    names = [entry.name for entry in dataclasses.fields(Policy)]
    if set(names) - set(value):
        raise LabError(f"policy.json is damaged: it lacks {', '.join(sorted(set(names) - set(value)))}")
    for name in names:
        if not FITS[name](value[name]):
            raise LabError(f"policy.json is damaged: {name} can't be {str(value[name])[:40]!r}")
    return Policy(**{name: value[name] for name in names})


def smaller_micro_batch(policy: Policy, batch: int) -> int | None:
    """Return the largest divisor of the batch of at most half the micro-batch; None where none makes a step need less memory.

    The native engine computes a batch in small chunks already.
    """
    half = policy.micro_batch // 2
    return None if policy.engine == "native" or half == 0 else largest_divisor(batch, half)


def with_smaller_micro_batch(policy: Policy, recipe: Recipe) -> Policy | None:
    """Return the policy with that micro-batch; None where there is none, or the recipe sets the micro-batch."""
    size = smaller_micro_batch(policy, recipe.train.batch)
    if size is None or recipe.train.micro_batch is not None:
        return None
    reason = f"memory ran out with {policy.micro_batch}"
    return dataclasses.replace(policy, micro_batch=size, reasons={**policy.reasons, "micro_batch": reason})


def without_compilation(policy: Policy, recipe: Recipe, failure: LabError) -> Policy | None:
    """Return the policy without torch.compile, which failed; None where the recipe requests it."""
    if recipe.train.compile == "on":
        return None
    return dataclasses.replace(policy, compile=False, reasons={**policy.reasons, "compile": str(failure)})


def apply_policy(policy: Policy) -> None:
    """Apply the policy's process-wide settings: threads, TF32, and deterministic algorithms where they are needed."""
    use_threads(policy.threads)
    torch.set_float32_matmul_precision("high" if policy.tf32 else "highest")
    # Compiled CPU code is bit-equal from process to process only with deterministic algorithms.
    deterministic = policy.deterministic or (policy.compile and policy.torch_device.type == "cpu")
    if policy.deterministic:
        _fix_cublas_workspace()
    # Setting the same value again would still load PyTorch's compiler, which takes a second or two.
    if torch.are_deterministic_algorithms_enabled() != deterministic:
        torch.use_deterministic_algorithms(deterministic)
        # lmlab reads no memory that it hasn't written, and filling each new tensor takes time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _fix_cublas_workspace() -> None:
    """Set the workspace with which cuBLAS is deterministic, as its manual states; it's read when CUDA starts in this process."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def _choose_compile(recipe: Recipe, device: torch.device) -> tuple[bool, str]:
    """Return (whether to compile, why): see `choose_compile`. LabError if it's requested and the model can't be compiled."""
    requested = recipe.train.compile
    lacking = family_of(recipe.model).uncompilable
    if lacking is None or requested == "off":
        return choose_compile(requested, device, detect())
    if requested == "on":
        raise LabError(f"train.compile can't be on: {lacking}: use auto or off")
    return False, lacking


def _no_native_engine(recipe: Recipe, device: torch.device, precision: str, compiled: bool) -> str | None:
    """Return why the native engine doesn't support this configuration; None if it does. Whether it is installed isn't checked."""
    if device.type != "cpu":
        return f"it is for the CPU, not for {device.type}"
    if precision != "fp32":
        return f"it computes in fp32, not in {precision}"
    if compiled:
        return "train.compile on compiles PyTorch's step"
    if ranks() > 1:
        return "several processes train together by PyTorch"
    if not kind_of(recipe.optim).engine_updates:
        return f"it has no rule for optim.kind {recipe.optim.kind}"
    if recipe.train.lora_rank:
        return "it trains all weights, not low-rank adapters"
    return family_of(recipe.model).unsupported(recipe.model)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


FITS: dict[str, Callable[[Any], bool]] = {
    "device": lambda value: _is_text(value) and DEVICE.fullmatch(value) is not None,
    "threads": lambda value: type(value) is int and 0 < value <= MOST_THREADS,
    "precision": _is_text,
    "autocast": lambda value: _is_text(value) and value in DTYPES,
    "scaler": _is_bool,
    "tf32": _is_bool,
    "compile": _is_bool,
    "deterministic": _is_bool,
    "sharded": _is_bool,
    "engine": lambda value: value in ENGINES and value != "auto",
    "engine_identity": _is_text,
    "micro_batch": lambda value: type(value) is int and value > 0,
    "ranks": lambda value: type(value) is int and value > 0,
    "reasons": lambda value: isinstance(value, dict) and all(_is_text(reason) for reason in value.values()),
}
"""Field of a policy -> check of a value read from a file."""
