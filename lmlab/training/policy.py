"""What was chosen for this machine: how a recipe is carried out here, with the reason for each choice.

Measured or decided once, kept in the run's policy.json and used again by resume: sums differ between thread counts,
kernels and precisions, so a run that changes any of these is no longer bit for bit the one that it was.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from lmlab import LabError
from lmlab.hardware import choose_compile, choose_device, choose_precision, detect, use_threads
from lmlab.recipe import Recipe
from lmlab.recipe.check import nearest_divisor

FORMAT = 1
DTYPES = {"none": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOKENS_IN_A_GPU_PASS = 16_384
"""Micro-batches on a GPU hold about this many tokens unless told otherwise: enough to fill one, little enough to fit."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Device, threads, arithmetic, compilation and micro-batch of a run on this machine."""

    device: str
    threads: int
    precision: str
    autocast: str
    scaler: bool
    tf32: bool
    compile: bool
    micro_batch: int
    reasons: dict[str, str]

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The dtype of matrix multiplications under autocast; None without autocast."""
        return DTYPES[self.autocast]

    @property
    def torch_device(self) -> torch.device:
        """The device as torch knows it."""
        return torch.device(self.device)

    def exactness(self) -> dict[str, Any]:
        """The fields that decide the bits: two equal ones give bit-equal runs on one machine."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "reasons"}

    def to_json(self) -> dict[str, Any]:
        """For policy.json."""
        return {"format": FORMAT, **dataclasses.asdict(self)}


def choose_policy(recipe: Recipe) -> Policy:
    """The policy for `recipe` on this machine; LabError where its wishes can't be met here."""
    train = recipe.train
    device = choose_device(train.device)
    precision = choose_precision(train.precision, device)
    compiled, compile_reason = choose_compile(train.compile, device, detect())
    threads = use_threads(train.threads)
    micro_batch, batch_reason = _micro_batch(recipe, device)
    dtype = next(name for name, value in DTYPES.items() if value == precision.autocast)
    return Policy(
        device=str(device),
        threads=threads,
        precision=precision.name,
        autocast=dtype,
        scaler=precision.scaler,
        tf32=precision.tf32,
        compile=compiled,
        micro_batch=micro_batch,
        reasons={"precision": precision.reason, "compile": compile_reason, "micro_batch": batch_reason},
    )


def read_policy(value: dict[str, Any]) -> Policy:
    """The policy in a run's policy.json; LabError where it's none."""
    if value.get("format") != FORMAT:
        raise LabError(f"policy.json has format {value.get('format')!r}: expected {FORMAT}")
    names = {entry.name for entry in dataclasses.fields(Policy)}
    if names - set(value):
        raise LabError(f"policy.json lacks {', '.join(sorted(names - set(value)))}")
    return Policy(**{name: value[name] for name in names})


def apply_policy(policy: Policy) -> None:
    """Set what is global in this process: threads, TF32, and determinism where the step is compiled."""
    use_threads(policy.threads)
    torch.set_float32_matmul_precision("high" if policy.tf32 else "highest")
    # Compiled CPU code is bit-equal from process to process only with deterministic algorithms.
    torch.use_deterministic_algorithms(policy.compile and policy.torch_device.type == "cpu")


def _micro_batch(recipe: Recipe, device: torch.device) -> tuple[int, str]:
    batch, wish = recipe.train.batch, recipe.train.micro_batch
    if wish is not None:
        return wish, "asked for"
    if device.type == "cpu":
        return batch, "the whole batch"
    fits = max(1, TOKENS_IN_A_GPU_PASS // recipe.model.context)
    if fits >= batch:
        return batch, "the whole batch"
    divisor = nearest_divisor(batch, fits)
    return divisor, f"about {TOKENS_IN_A_GPU_PASS:,} tokens a pass"
