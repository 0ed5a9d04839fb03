"""Whether compiling a training step on a GPU saves more time than it takes, by timed steps without it."""

from __future__ import annotations

import dataclasses

from lmlab.data.fresh import TrainingTokens
from lmlab.hardware.memory import is_out_of_memory
from lmlab.planning.trials.probe import shortest_step
from lmlab.planning.trials.store import facts_of_steps, measured
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import duration
from lmlab.training.policy import Policy

COMPILE_SECONDS = 60.0
"""nanoGPT's README (github.com/karpathy/nanoGPT) gives about a minute for a GPT-2."""
COMPILED_GAIN = 1.85
"""The factor in speed that the same README gives: 250 ms a step uncompiled, 135 ms compiled."""


def weighed_compilation(recipe: Recipe, policy: Policy, tokens: TrainingTokens, vocabulary: int, steps: int) -> Policy:
    """Return `policy`, without compilation where `steps` steps on a GPU are over too soon to gain from it.

    `tokens` is the training split. It concerns only train.compile auto. The steps are timed once and stored; where they run out of
    memory, the policy stays.
    """
    if not policy.compile or recipe.train.compile != "auto" or not policy.device.startswith("cuda") or policy.ranks > 1:
        return policy
    eager = dataclasses.replace(policy, compile=False)

    def step_seconds() -> dict[str, float]:
        return {"step_seconds": shortest_step(recipe, eager, tokens, vocabulary)}

    facts = facts_of_steps(recipe, vocabulary) | {"batch": [recipe.train.batch, policy.micro_batch]}
    try:
        seconds = steps * measured("eager", eager, facts, ["step_seconds"], step_seconds)["step_seconds"]
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return policy
    saved = seconds * (1 - 1 / COMPILED_GAIN)
    if saved > COMPILE_SECONDS:
        return policy
    why = f"{steps:,} steps take about {duration(seconds)} without it, and compiling takes {duration(COMPILE_SECONDS)}"
    return dataclasses.replace(eager, reasons={**policy.reasons, "compile": why})
