"""The combinations that a benchmark compares on this machine: precisions, compilation, engines and threads, and why others are left
out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from lmlab import LabError
from lmlab.hardware.compile import choose_compile
from lmlab.hardware.cpu import physical_cores
from lmlab.hardware.machine import Machine
from lmlab.hardware.precision import choose_precision
from lmlab.training.policy import DTYPES, Policy

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
SLOWER_THAN_FP32 = "slower"
"""The word in a precision's reason that marks it as emulated by this processor."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """How a step is computed, and on how many sequences at once."""

    batch: int
    policy: Policy

    @property
    def precision(self) -> str:
        """fp32, tf32, bf16 or fp16."""
        return self.policy.precision

    @property
    def how(self) -> str:
        """Everything except the batch, in words."""
        policy = self.policy
        words = [policy.precision, "compiled" if policy.compile else "eager"]
        if policy.device == "cpu":
            words[1] = "native" if policy.engine == "native" else f"torch {words[1]}"
            words.append(f"{policy.threads} thread{'s' if policy.threads > 1 else ''}")
        return ", ".join(words)

    def of_batch(self, batch: int) -> Combination:
        """Return the same combination with another number of sequences."""
        return dataclasses.replace(self, batch=batch)


def variants(
    policy: Policy, machine: Machine, thorough: bool, uncompilable: str | None = None
) -> tuple[list[Policy], list[str]]:
    """Return `policy` first, then the alternatives here, changing one setting at a time; and what is left out, with the reason.

    `uncompilable` is the reason why the model can't be compiled, where it can't. With `thorough`, also alternatives that take half
    a minute to compile or are expected to be slower, and all of them combined.
    """
    left_out: list[str] = []
    precisions = _precisions(policy, thorough, left_out)
    compilations = _compilations(policy, machine, thorough, uncompilable, left_out)
    engines = _engines(policy, left_out)
    if thorough:
        found = [
            _with(policy, precision, compiled, engine, threads)
            for precision in precisions
            for compiled in compilations
            for engine, threads in engines
        ]
    else:
        found = [_with(policy, precision, policy.compile, policy.engine, policy.threads) for precision in precisions]
        found += [_with(policy, policy.precision, compiled, policy.engine, policy.threads) for compiled in compilations]
        found += [_with(policy, policy.precision, policy.compile, *engine) for engine in engines]
    unique = {tuple(sorted(one.exactness().items())): one for one in [policy, *filter(None, found)]}
    return list(unique.values()), left_out


def _with(policy: Policy, precision: str, compiled: bool, engine: str, threads: int) -> Policy | None:
    """Return the policy with these settings; None where the native engine doesn't support them."""
    chosen = choose_precision(precision, policy.torch_device)
    native = engine == "native" and precision == "fp32" and not compiled
    if engine == "native" and not native:
        # Only one setting is changed at a time, but this one needs PyTorch.
        engine = "torch"
    if engine == "native" and not policy.engine_identity:
        return None
    return dataclasses.replace(
        policy,
        precision=chosen.name,
        autocast=next(name for name, dtype in DTYPES.items() if dtype == chosen.autocast),
        scaler=chosen.scaler,
        tf32=chosen.tf32,
        compile=compiled,
        engine=engine,
        engine_identity=policy.engine_identity if engine == "native" else "",
        threads=threads,
    )


def _precisions(policy: Policy, thorough: bool, left_out: list[str]) -> list[str]:
    found = []
    for name in PRECISIONS:
        try:
            reason = choose_precision(name, policy.torch_device).reason
        except LabError as error:
            left_out.append(f"{name}: {str(error).removesuffix(': use fp32 or auto').removesuffix(': use fp32')}")
            continue
        if SLOWER_THAN_FP32 in reason and not thorough and name != policy.precision:
            left_out.append(f"{name}: {reason.removeprefix('asked for; ')} (--thorough tries it)")
        else:
            found.append(name)
    return found


def _compilations(
    policy: Policy, machine: Machine, thorough: bool, uncompilable: str | None, left_out: list[str]
) -> list[bool]:
    possible, why = choose_compile("on", policy.torch_device, machine)
    if uncompilable:
        possible, why = False, uncompilable
    if not possible:
        left_out.append(f"compiled: {why}")
        return [False]
    if policy.device == "cpu" and not (thorough or policy.compile):
        left_out.append("compiled: on a CPU it takes 20 to 40 s a size (--thorough tries it)")
        return [False]
    return [False, True]


def _engines(policy: Policy, left_out: list[str]) -> list[tuple[str, int]]:
    """Return (engine, threads) pairs; on a GPU there is only one."""
    if policy.device != "cpu":
        left_out.append("native engine: it is for the CPU")
        return [(policy.engine, policy.threads)]
    counts = sorted({policy.threads, max(1, physical_cores() // 2), physical_cores()}, reverse=True)
    if policy.engine != "native":
        left_out.append(f"native engine: {policy.reasons.get('engine', 'it is not used here')}")
        return [("torch", count) for count in counts]
    engines: tuple[str, ...] = ("native", "torch")
    return [(engine, count) for engine in engines for count in counts]


def doublings(most: int, always: int) -> list[int]:
    """Return 1, 2, 4, ... up to `most`, and `always` among them."""
    sizes = {1 << exponent for exponent in range(max(0, most).bit_length()) if 1 << exponent <= most}
    return sorted(sizes | {always})
