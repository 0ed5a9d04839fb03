"""The circumstances of a run's segment: versions, machine and policy. Where they are equal, so are the bits."""

from __future__ import annotations

import sys
from typing import Any

from lmlab import __version__
from lmlab.hardware.machine import detect
from lmlab.native.library import Library, load
from lmlab.runs.code import running_source_sha256
from lmlab.training.policy import Policy

REASONS = {
    "device": "a different device adds up in a different order",
    "threads": "a different number of threads adds up in a different order",
    "precision": "a different precision rounds differently",
    "autocast": "a different precision rounds differently",
    "tf32": "TF32 rounds the factors of each product",
    "compile": "a compiled step adds up in a different order",
    "deterministic": "without deterministic algorithms a GPU's sums are in varying order",
    "engine": "the other engine adds up in a different order",
    "engine_identity": "a different build of the native engine may add up in a different order",
    "micro_batch": "a different micro-batch adds up gradients in a different order",
    "ranks": "another number of processes adds up gradients in a different order",
    "sharded": "sharded weights' gradients are added up in a different order",
    "torch": "a different version of PyTorch may add up in a different order",
    "numpy": "a different version of numpy may add up in a different order",
    "compiler": "a different compiler may add up in a different order",
    "cpu": "a different processor may have other instructions, and so add up in a different order",
    "instructions": "other instructions add up in a different order",
    "source_sha256": "lmlab's own source differs",
    "lmlab": "a different version of lmlab",
    "python": "a different version of Python",
}
"""A circumstance -> how a difference in it affects the bits; the likeliest cause first."""


def versions(policy: Policy) -> dict[str, Any]:
    """Return the versions of everything that computes."""
    import numpy
    import torch

    loaded = load(identity=policy.engine_identity) if policy.engine == "native" else None
    return {
        "lmlab": __version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "compiler": loaded.build.compiler if isinstance(loaded, Library) else None,
    }


def circumstances(policy: Policy) -> dict[str, Any]:
    """Return the fields of a segment's line: versions, source, processor and policy."""
    machine = detect(accelerators=False)
    return {
        **versions(policy),
        "source_sha256": running_source_sha256(),
        "cpu": machine.cpu,
        "instructions": list(machine.instructions),
        "policy": policy.exactness(),
    }


def differing(recorded: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return name -> (recorded, current) for every difference that can change bits, the likeliest cause first."""
    flat = [{**value, **value.get("policy", {})} for value in (recorded, now)]
    return {
        name: (flat[0][name], flat[1].get(name))
        for name in REASONS
        if name in flat[0] and flat[0][name] != flat[1].get(name)
    }
