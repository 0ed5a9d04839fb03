"""The facts about a finished run from which its next steps are ranked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmlab import LabError
from lmlab.planning.inverse.shapes import counted_parameters
from lmlab.recipe import Recipe
from lmlab.runs import Run

TIMES = 2.0
"""Each option doubles something: the gain an hour falls with more."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The facts about a finished run that the ranking uses."""

    name: str
    folder: str
    recipe: Recipe
    vocabulary: int
    parameters: int
    length: int
    """Steps of the whole run."""
    steps: int
    """Steps to its best loss, where it memorised its text after that; else all."""
    tokens: int
    """Tokens read by then, including those of the runs it was branched from."""
    unique_tokens: int
    """Tokens of the training split."""
    step_tokens: float
    """Tokens that a step trains on; for windows of documents the mean."""
    loss: float
    """Nats a token over the whole validation split, by then."""
    seconds_a_token: float
    """Time of training, with its share of evaluations and checkpoints."""
    curve: tuple[tuple[int, float], ...]
    """(step, validation loss) of its evaluations up to `steps`."""
    turned: bool
    """Whether the validation loss had risen for good by the end."""

    @property
    def passes(self) -> float:
        """Passes over the training split."""
        return self.tokens / self.unique_tokens

    @property
    def new_tokens(self) -> int:
        """How many tokens each option of more steps adds."""
        return round((TIMES - 1.0) * self.tokens)

    @property
    def new_steps(self) -> int:
        """How many steps read these."""
        return max(1, round(self.new_tokens / self.step_tokens))


def facts_of(run: Run) -> RunFacts:
    """Return a finished run's facts; LabError where it hasn't finished, or lacks them."""
    recipe, summary = run.recipe(), run.summary()
    if not summary or summary.get("finished") is not True:
        raise LabError(f"{run.name} hasn't finished, so it has no final loss: lmlab resume {run.name}")
    vocabulary = run.fact("vocabulary_size")
    try:
        turned = summary["verdict"]["kind"] == "overfitting" and summary["best"]["step"] < summary["final"]["step"]
        end = summary["best" if turned else "final"]
        steps, seconds = int(end["step"]), summary["seconds"]
        rate = summary["score"]["tokens_per_second"]["measured"]
        if recipe.data.by_document:
            step_tokens, unique = _of_windows(run)
        else:
            step_tokens, unique = recipe.train.batch * recipe.model.context, int(run.fact("data")[0]["train_tokens"])
        left_out = (summary["steps"] - steps) * step_tokens
        tokens = round(summary["tokens"] + _uncounted_tokens(run, summary) - left_out)
        loss, overhead = float(end["loss"]), seconds["total"] / seconds["train"]
    except (KeyError, TypeError, IndexError, ZeroDivisionError):
        raise LabError(
            f"{run.name} lacks figures that a plan needs: expected a summary.json of this version of lmlab"
        ) from None
    if tokens <= 0:
        raise LabError(
            f"{run.name} was best before its first step, so there is nothing to continue from: use a smaller optim.lr"
        )
    lines = [line for line in run.read_lines("metrics") if line.get("kind") == "evaluation"]
    curve = [(line["step"], line["valid_loss"]) for line in lines if isinstance(line.get("valid_loss"), float)]
    return RunFacts(
        name=run.name,
        folder=str(run.folder),
        recipe=recipe,
        vocabulary=vocabulary,
        parameters=counted_parameters(recipe, vocabulary),
        length=int(summary["steps"]),
        steps=steps,
        tokens=tokens,
        unique_tokens=unique,
        step_tokens=step_tokens,
        loss=loss,
        seconds_a_token=overhead / rate,
        curve=tuple(point for point in curve if point[0] <= steps),
        turned=turned,
    )


def _of_windows(run: Run) -> tuple[float, int]:
    """Return the targets of a step and of an epoch of windows of documents, without padding, from the run's forecast."""
    forecast = run.read("forecast.json")
    return forecast["tokens"] / forecast["steps"], round(forecast["tokens"] / forecast["epochs"])


def _uncounted_tokens(run: Run, summary: Mapping[str, Any]) -> int:
    """Return the tokens that its ancestors read and that its summary's `tokens` doesn't include: a run on fresh tokens begins at 0.

    0 for windows of documents, whose padding isn't counted, so that the number is unknown.
    """
    lineage = run.origin().get("lineage")
    if not lineage or run.recipe().data.by_document:
        return 0
    own = {"cursor": summary["data_used"]["cursor"], "context": run.recipe().model.context}
    read = sum((one["cursor"][1] - one["cursor"][0]) * one["context"] for one in (*lineage, own))
    # Fresh windows can be shorter than the context, so that the two counts may differ slightly.
    return max(0, int(read - summary["tokens"]))
