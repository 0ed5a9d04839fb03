"""What a rank other than 0 does: it computes its rows of each batch until rank 0 says that it's over."""

from __future__ import annotations

from typing import Any

from lmlab import LabError
from lmlab.recipe import from_toml
from lmlab.training import ranks
from lmlab.training.computation import TorchComputation, training_tensors
from lmlab.training.policy import apply_policy, read_policy
from lmlab.training.setup import model_and_optimizer


def follow() -> int:
    """Follow rank 0 to its end; the exit status. LabError where rank 0 has gone, or another rank with which it computes."""
    try:
        ranks.join_group()
        # Rank 0 hears the same signals, and says what comes of them.
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
    model, optimizer = model_and_optimizer(recipe, policy, value["vocabulary"], drawn=False)  # rank 0 sends the numbers
    made = TorchComputation(recipe, policy, model, optimizer)
    ranks.broadcast_tensors(training_tensors(model, optimizer))
    return made
