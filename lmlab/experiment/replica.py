"""The part of the ranks other than 0 in a training: the same loop on the same state, without files."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from lmlab import LabError
from lmlab.data.dataset import Dataset, find_dataset
from lmlab.data.fresh import FreshTokens, fresh_windows, training_split
from lmlab.data.preparation import prepare
from lmlab.evaluation.losses import EvaluationStopped, evaluate_sample, evaluate_split
from lmlab.experiment.outline import Outline
from lmlab.generation.decoding import generate
from lmlab.generation.prompts import begin_of
from lmlab.generation.settings import Sampling
from lmlab.recipe import Recipe, from_toml, to_toml
from lmlab.training import parallel
from lmlab.training.display import Quiet
from lmlab.training.evaluating import EvaluationPlan
from lmlab.training.exchange import AgreedStop
from lmlab.training.guard import StepVerdict
from lmlab.training.hooks import Hooks, Scores
from lmlab.training.loop import Loop
from lmlab.training.outlook import Outlook
from lmlab.training.pace import Pace
from lmlab.training.policy import read_policy
from lmlab.training.setup import set_up
from lmlab.training.signals import Interrupted, StopRequests
from lmlab.training.state import State, read_state


def description(outline: Outline, state: State) -> dict[str, Any]:
    """Return what another rank needs to take part in a training, as JSON."""
    tokens = outline.training
    return {
        "recipe": to_toml(outline.recipe),
        "policy": outline.policy.to_json(),
        "data_id": outline.dataset.id,
        "unused": tokens.unused.tolist() if isinstance(tokens, FreshTokens) else None,
        "steps": outline.steps,
        "plan": dataclasses.asdict(outline.plan),
        "state": state.to_json({}),
    }


def take_part() -> int:
    """Take part in the training of rank 0 until its command has ended, and return the exit status.

    LabError if the connection to another rank is lost before that.
    """
    try:
        work = parallel.await_work()
        if work is not None:
            _Replica(work).run()
    except parallel.RankLost as lost:
        if not parallel.is_over():
            raise LabError(f"{lost}: resume the run") from None
    finally:
        parallel.leave_group()
    return 0


class _Replica:
    """One rank's training, evaluations and final scores."""

    def __init__(self, work: dict[str, Any]) -> None:
        recipe, policy = from_toml(work["recipe"]), read_policy(work["policy"])
        self.dataset = _dataset(recipe, work["data_id"])
        tokens = training_split(recipe, self.dataset)
        if work["unused"] is not None:
            unused = np.array(work["unused"], dtype=np.int64)
            windows = fresh_windows(unused, recipe.model.context)
            tokens = FreshTokens(tokens=self.dataset.tokens("train"), windows=windows, unused=unused)
        plan = work["plan"]
        self.plan = EvaluationPlan(**{**plan, "wanted": tuple(plan["wanted"])})
        # The values are rank 0's.
        self.training = set_up(recipe, policy, tokens, self.dataset.vocabulary_size, work["steps"])
        self.exchange = self.training.distribute()
        self.training.state.become(read_state(work["state"])[0])

    def run(self) -> None:
        """Run the loop to its end, and take part in the final scores."""
        with StopRequests(set, forgiving=True) as own:
            stop = AgreedStop(own, self.exchange)
            self.exchange.agree()
            try:
                ending = self._loop(stop).run()
            except parallel.RankLost:
                raise
            except LabError:
                return  # such as a loss that diverged: rank 0 has the same error, and reports it
            if ending.kind != "stopped":
                self._final_scores()
            elif ending.reason.startswith("RankLost"):
                raise parallel.RankLost(ending.reason.removeprefix("RankLost: "))

    def _loop(self, stop: AgreedStop) -> Loop:
        hooks = Hooks(
            record=lambda file, kind, step, tokens, values: None,
            evaluate=lambda state: self._evaluate(stop),
            save=lambda state, best: self.training.gather(),
            check_save=lambda wait: None,
            black_box=_no_black_box,
            corrected=lambda correction: None,
            wall_seconds=lambda: 0.0,
            rewind=self._rewind,
        )
        training, step = self.training, self.training.step
        outlook = Outlook(step.rate, step.steps, None)
        pace = Pace(None, step.policy.threads)
        return Loop(training.recipe, step, training.state, hooks, Quiet(), stop, outlook, pace, 0.0, None)

    def _evaluate(self, stop: AgreedStop) -> Scores:
        """Take part in an evaluation, in the order of rank 0 (`lmlab.experiment.session`)."""
        scoring = self.training.scoring(self.dataset)
        try:
            valid = evaluate_sample(scoring, "valid", self.plan.wanted[0], stop=stop.stopping_now)
            evaluate_sample(scoring, "train", self.plan.wanted[1], stop=stop.stopping_now)
        except EvaluationStopped:
            raise Interrupted from None
        recipe = self.training.recipe
        if self.exchange.lockstep and recipe.evaluate.prompts:
            sampling = Sampling(tokens=recipe.evaluate.sample_tokens, seed=recipe.train.seed)
            tokenizer = self.dataset.tokenizer
            begin = begin_of(recipe.data, tokenizer)
            generate(self.training.model, tokenizer, recipe.evaluate.prompts, sampling, begin=begin)
        return Scores(valid_loss=valid.loss, metrics={"valid_loss": valid.loss}, samples=(), line="")

    def _rewind(self, state: State) -> State:
        return self.training.receive_state()

    def _final_scores(self) -> None:
        scoring = self.training.scoring(self.dataset)

        def score() -> None:
            if self.plan.final == "whole":
                evaluate_split(scoring, "valid")
            else:
                evaluate_sample(scoring, "valid", self.plan.wanted[0])

        score()
        evaluate_sample(scoring, "train", self.plan.final_train_tokens)
        if self.training.share_weights(None):  # rank 0 has found the best model
            score()


def _dataset(recipe: Recipe, data_id: str) -> Dataset:
    """Return the data set on this machine, prepared from the corpus if only rank 0's machine has it. LabError if that differs."""
    try:
        return find_dataset(data_id)
    except LabError:
        made = prepare(recipe.data)
    if made.id != data_id:
        raise LabError(f"rank {parallel.rank()} prepared another data set than rank 0: {made.id}, not {data_id}")
    return made


def _no_black_box(state: State, verdict: StepVerdict, weights_step: int) -> str:
    return "written by rank 0"
