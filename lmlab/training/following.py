"""The process of a rank other than 0, which computes its rows of each batch until rank 0 sends the end command."""

from __future__ import annotations

from typing import Any

from lmlab import LabError
from lmlab.recipe import from_toml
from lmlab.training import ranks
from lmlab.training.computation import TorchComputation, training_tensors
from lmlab.training.policy import apply_policy, read_policy
from lmlab.training.setup import model_and_optimizer


def follow() -> int:
    """Execute rank 0's commands until it ends, and return the exit status. LabError if the connection to another rank is lost."""
    try:
        ranks.join_group()
        # Rank 0 receives the same signals and handles them for all ranks.
        ranks.ignore_signals()
        computation: TorchComputation | None = None
        while True:
            word, numbers = ranks.receive_command()
            if word == ranks.END:
                return 0
            if word == ranks.SET_UP:
                computation = _set_up(ranks.receive_set_up(numbers[0]))
            else:
                assert computation is not None
                computation.follow_step(*numbers[:4])
    except ranks.RankLost as lost:
        raise LabError(f"{lost}: resume the run") from None
    finally:
        ranks.leave_group()


def _set_up(value: dict[str, Any]) -> TorchComputation:
    recipe, policy = from_toml(value["recipe"]), read_policy(value["policy"])
    apply_policy(policy)
    model, optimizer = model_and_optimizer(
        recipe, policy, value["vocabulary"], drawn=False
    )  # rank 0 broadcasts the values
    made = TorchComputation(recipe, policy, model, optimizer)
    ranks.broadcast_tensors(training_tensors(model, optimizer))
    return made
