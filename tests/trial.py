"""What a trial of a small training may find, without one: a real trial takes a process that imports torch."""

from lmlab.data.dataset import Dataset
from lmlab.model.cost import parameters
from lmlab.planning.trials.child import Measurement
from lmlab.recipe import Recipe
from lmlab.training.policy import Policy


def tried_before(
    recipe: Recipe, policy: Policy, dataset: Dataset, say: object = None, idle_bytes: int | None = None
) -> Measurement:
    """In place of `lmlab.planning.forecasts.forecast.try_here`."""
    checkpoint = 12 * parameters(recipe.model, dataset.vocabulary_size)["total"]
    times = {"step_seconds": (0.01,) * 8, "first_step_seconds": 0.02, "save_seconds": 0.02, "save_wait_seconds": 0.01}
    memory = {"checkpoint_bytes": checkpoint, "peak_memory_bytes": 300_000_000, "idle_memory_bytes": 200_000_000}
    return Measurement(
        micro_batch=policy.micro_batch, batch=recipe.train.batch, forward_tokens_per_second=1e5, **times, **memory
    )
