"""Under what a segment of a run computes: versions, machine and policy. Where they are equal, so are the bits."""

from __future__ import annotations

import sys
from typing import Any

from lmlab import __version__
from lmlab.hardware import detect
from lmlab.native import Library, load
from lmlab.runs.code import running_source_sha256
from lmlab.training.policy import Policy

REASONS = {
    "device": "another device rounds its sums in another order",
    "threads": "another number of threads adds its sums up in another order",
    "precision": "another precision rounds otherwise",
    "autocast": "another precision rounds otherwise",
    "tf32": "TF32 rounds the factors of products",
    "compile": "a compiled step orders its sums otherwise",
    "engine": "the other engine orders its sums otherwise",
    "engine_identity": "another build of the native engine may order its sums otherwise",
    "micro_batch": "another micro-batch adds its gradients up in another order",
    "torch": "another version of PyTorch may order its sums otherwise",
    "numpy": "another version of numpy may order its sums otherwise",
    "compiler": "another compiler may order sums otherwise",
    "cpu": "another processor may have other instructions, and sums of another order",
    "instructions": "other instructions mean sums of another order",
    "source_sha256": "lmlab's own source is another",
    "lmlab": "another version of lmlab",
    "python": "another version of Python",
}
"""What may differ -> what that does to the bits; the likeliest cause first."""


def versions(policy: Policy) -> dict[str, Any]:
    """Of everything that computes."""
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
    """The values that a segment's line gets: versions, source, processor and policy."""
    machine = detect(accelerators=False)
    return {
        **versions(policy),
        "source_sha256": running_source_sha256(),
        "cpu": machine.cpu,
        "instructions": list(machine.instructions),
        "policy": policy.exactness(),
    }


def differing(recorded: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """name -> (what was recorded, what is now) for everything that can change bits, the likeliest cause first."""
    flat = [{**value, **value.get("policy", {})} for value in (recorded, now)]
    return {
        name: (flat[0][name], flat[1].get(name))
        for name in REASONS
        if name in flat[0] and flat[0][name] != flat[1].get(name)
    }
