"""The arithmetic in which a model is scored: the run's own where the device is of its kind, else float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lmlab import LabError
from lmlab.experiment.loaded import Loaded
from lmlab.model.native import native_engine
from lmlab.native.engine import Engine
from lmlab.runs import Run
from lmlab.training.policy import Policy, read_policy


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How a model is scored: the run's precision on the kind of device that it was trained on, float32 elsewhere."""

    precision: str
    autocast: torch.dtype | None
    tf32: bool
    engine: Engine | None
    """The native engine of the model; None: PyTorch computes."""

    @contextlib.contextmanager
    def products(self) -> Iterator[None]:
        """Context in which float32 products may round their inputs, if the precision allows it."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)


PLAIN = Arithmetic(precision="fp32", autocast=None, tf32=False, engine=None)
"""Float32 by PyTorch, for a model that isn't a run."""


def arithmetic_of(loaded: Loaded) -> Arithmetic:
    """Return how a loaded model is scored."""
    policy = policy_of(loaded.run)
    if policy is not None and policy.torch_device.type != loaded.device.type:
        policy = None
    autocast = None if policy is None else policy.autocast_dtype
    return Arithmetic(
        precision="fp32" if policy is None else policy.precision,
        autocast=autocast,
        tf32=policy is not None and policy.tf32,
        engine=native_engine(loaded.model) if autocast is None else None,
    )


def policy_of(run: Run) -> Policy | None:
    """Return the policy of a run; None where it has none, as an imported one."""
    with contextlib.suppress(LabError):
        return read_policy(run.read("policy.json"))
    return None
