"""What to do after a run: more steps, more text, or more parameters, ranked by the expected gain an hour.

Inputs are a finished run and a loss law; the result is the options, each with its expected loss and its time at the speed of that
run. A law that was fitted to runs of this text is used as it is. Another (published) law only determines how parameters and fresh
and repeated tokens compare; the size of the gain comes from the run's own curve, extrapolated under the learning rate of a branch
(`lmlab.scaling.curve`).
"""

from __future__ import annotations

import dataclasses
import math
import shlex
from dataclasses import dataclass
from typing import Any

from lmlab.model.cost import flops_per_token
from lmlab.model.families import family_of
from lmlab.optim.schedule import rate_share
from lmlab.planning.inverse.learning_rates import Tuned
from lmlab.planning.inverse.search import MOST_PARAMETERS_A_TOKEN
from lmlab.planning.inverse.shapes import counted_parameters, shapes_like
from lmlab.planning.losses.known_law import KnownLaw
from lmlab.planning.next_steps.facts import TIMES, RunFacts
from lmlab.recipe import Recipe
from lmlab.recipe.quantities import count
from lmlab.recipe.schedule import has_span
from lmlab.scaling.curve import RatePath, expected_end, rate_path
from lmlab.scaling.estimate import Estimate, Evidence
from lmlab.scaling.law import REPETITIONS_WORTH, effective_tokens

SPEED_SPREAD = 1.1
"""Factor either way for a time at the run's own speed."""
SIZE_SPREAD = 1.3
"""Factor either way for the time of a model that wasn't measured."""
TERMS_SPREAD = 1.5
"""Factor either way for a gain that a law carries over from tokens to parameters, or the reverse."""
FINDING = 0.9
"""New text has to be found first: its gain is multiplied by this, so that more steps on the old text rank first at a tie."""
SHARE_TO_GAIN = 0.5
"""Without a curve: the share of a published law's gain, scaled to the run's loss, since such laws overestimate the gain of small
models."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One possible next step."""

    what: str
    gain: Estimate
    """Nats a token below the run's loss."""
    loss: Estimate
    seconds: Estimate
    """Additional time, beyond the run's own."""
    command: str
    note: str = ""

    @property
    def gain_an_hour(self) -> float:
        """The gain in nats per hour."""
        return self.gain.value / (self.seconds.value / 3600.0)


@dataclass(frozen=True, kw_only=True)
class NextSteps:
    """The options, the best first."""

    facts: RunFacts
    options: tuple[Option, ...]
    source: str
    """The basis of the gains, in words."""


def next_steps(facts: RunFacts, law: KnownLaw) -> NextSteps:
    """Return the options for a run, ranked by expected gain an hour."""
    scale = _Scale.of(facts, law)
    ranking = _Ranking(facts, law, scale)
    options = [option for option in (ranking.steps(), ranking.text(), ranking.size(), ranking.both()) if option]
    options.sort(key=lambda option: -option.gain_an_hour * (FINDING if option.what == "more text" else 1.0))
    model = facts.recipe.model
    of_gpts = not law.fitted and not family_of(model).follows_published_laws
    known = f"{law.source} to transformers, which a model of kind {model.kind} is not" if of_gpts else law.source
    return NextSteps(facts=facts, options=tuple(options), source=f"{known}; {scale.words}" if scale.words else known)


@dataclass(frozen=True)
class _Scale:
    """The factor of a law's gains, with its interval."""

    value: float
    low: float
    high: float
    evidence: Evidence
    words: str = ""

    @classmethod
    def of(cls, facts: RunFacts, law: KnownLaw) -> _Scale:
        """Return 1 for the user's own law; otherwise the factor that makes the law's gain of more fresh tokens the curve's."""
        if law.fitted:
            return cls(1.0, 1.0 / TERMS_SPREAD, TERMS_SPREAD, "extrapolated")
        longer = TIMES * facts.tokens
        # The curve so far comes from tokens read as often as these: so the law's gain beside it is one without a limit of text.
        size = law.size(facts.recipe)
        promised = law.rank(size, facts.tokens, longer) - law.rank(size, longer, longer)
        steps, losses = zip(*facts.curve, strict=True) if facts.curve else ((), ())
        end = expected_end(steps, losses, branch_path(facts))
        if end is None or promised <= 0.0:
            share = SHARE_TO_GAIN * min(1.0, facts.loss / law.rank(size, facts.tokens, facts.unique_tokens))
            return cls(share, 0.0, 2.0 * share, "published", "the run's own curve is too short to extrapolate")
        gains = [max(0.0, losses[-1] - loss) / promised for loss in (end.value, end.high, end.low)]
        return cls(gains[0], gains[1], gains[2], "extrapolated", "scaled to the run's own curve")


class _Ranking:
    def __init__(self, facts: RunFacts, law: KnownLaw, scale: _Scale) -> None:
        self.facts, self.law, self.scale = facts, law, scale
        self.now = law.rank(law.size(facts.recipe), facts.tokens, facts.unique_tokens)

    def steps(self) -> Option:
        """Return the option of twice the steps, in a branch that stretches the schedule."""
        facts = self.facts
        gain = self._gain(facts.recipe, TIMES * facts.tokens, facts.unique_tokens, 1.0)
        note = repetition(TIMES * facts.passes)
        if facts.turned:
            gain, note = (
                _nothing(),
                f"the validation loss has risen since step {facts.steps:,}: the model memorises the text",
            )
        # A branch of a run on fresh tokens would require more of them; one without data.fresh counts its steps from 0.
        fresh = facts.recipe.data.fresh
        steps = facts.new_steps if fresh else facts.steps + facts.new_steps
        command = self._branch(facts.folder, {"data.fresh": "no"} if fresh else {}, steps)
        return self._option("more steps", gain, self._seconds(facts.new_tokens, 1.0, SPEED_SPREAD), command, note)

    def text(self) -> Option | None:
        """Return the option of twice the tokens, the new ones never read before; None where the text has as many unread."""
        facts = self.facts
        missing = round(TIMES * facts.tokens - facts.unique_tokens)
        if missing <= 0:
            return None
        new = min(missing, facts.new_tokens)
        # Earlier tokens keep their repetitions; all added ones are fresh.
        worth = effective_tokens(facts.tokens, facts.unique_tokens) + facts.new_tokens
        gain = self._gain(facts.recipe, worth, worth, 1.0)
        at = f"{facts.folder}@best" if facts.turned else facts.folder
        # Windows of documents aren't known to be fresh, so that such a branch reads old and new ones alike.
        fresh = {} if facts.recipe.data.by_document else {"data.fresh": "yes"}
        command = (
            f"lmlab data extend {shlex.quote(facts.recipe.data.corpus)} MORE; "
            f"{self._branch(at, {'data.corpus': 'ID', **fresh}, facts.new_steps)}"
        )
        note = f"needs {count(new)} tokens of new text"
        return self._option("more text", gain, self._seconds(facts.new_tokens, 1.0, SPEED_SPREAD), command, note)

    def size(self) -> Option | None:
        """Return the option of about twice the parameters, from scratch, on as many tokens; None where there is no larger shape."""
        return self._larger("more parameters", 1.0)

    def both(self) -> Option | None:
        """Return the option of about twice the parameters, and twice the steps."""
        return self._larger("more parameters and steps", TIMES)

    def _larger(self, what: str, longer: float) -> Option | None:
        facts = self.facts
        if not family_of(facts.recipe.model).resizes:
            return None
        wish = TIMES * facts.parameters
        larger = [shape for shape in shapes_like(facts.recipe) if self._size(shape) > facts.parameters]
        if not larger:
            return None
        shape = min(larger, key=lambda one: abs(math.log(self._size(one) / wish)))
        tokens, size = longer * facts.tokens, self._size(shape)
        gain = self._gain(shape, tokens, facts.unique_tokens, TERMS_SPREAD)
        costs = flops_per_token(shape.model, facts.vocabulary).training
        ratio = costs / flops_per_token(facts.recipe.model, facts.vocabulary).training
        note = f"{count(size)} parameters, from the start"
        if facts.turned:
            gain, note = _nothing(), "a larger model memorises the text sooner: use more text, or dropout"
        elif size > MOST_PARAMETERS_A_TOKEN * facts.unique_tokens:
            gain, note = _nothing(), f"{note}: too large for a text of {count(facts.unique_tokens)} tokens"
        seconds = self._seconds(tokens, ratio, SIZE_SPREAD)
        return self._option(what, gain, seconds, self._command(shape, longer), note)

    def _branch(self, reference: str, settings: dict[str, Any], steps: int) -> str:
        """Return the command of a branch that ends at `steps`."""
        return f"lmlab train --from {shlex.quote(reference)} {_flags(settings | self._length(steps))}"

    def _length(self, steps: int) -> dict[str, Any]:
        """Return the settings of so many steps: epochs in a recipe would take precedence."""
        epochs = {} if self.facts.recipe.train.epochs is None else {"train.epochs": "none"}
        return {**epochs, "train.steps": steps}

    def _command(self, shape: Recipe, longer: float) -> str:
        """Return the command that trains the run's recipe with another shape and the rates for it, from scratch."""
        facts, model = self.facts, shape.model
        counted = facts.step_tokens / (facts.recipe.train.batch * facts.recipe.model.context)
        tuned = Tuned(recipe=facts.recipe, parameters=facts.parameters, tokens=facts.tokens, counted=counted)
        rates = tuned.rates(model.width, facts.recipe.train.batch, self._size(shape), longer * facts.tokens)
        sizes = {f"model.{name}": getattr(model, name) for name in family_of(model).size_settings}
        settings: dict[str, Any] = {name: value for name, value in sizes.items() if value is not None}
        settings |= rates
        own, steps = facts.recipe, max(1, round(longer * facts.tokens / facts.step_tokens))
        if own.train.epochs is not None or steps != own.train.steps:
            settings |= self._length(steps)
            if own.schedule.steps is not None:
                settings["schedule.steps"] = "none"
        if own.schedule.start:
            settings["schedule.start"] = 0
        if own.data.fresh:
            settings["data.fresh"] = "no"
        return f"lmlab train {shlex.quote(f'{facts.folder}/recipe.toml')} {_flags(settings)}"

    def _size(self, recipe: Recipe) -> int:
        return counted_parameters(recipe, self.facts.vocabulary)

    def _gain(self, recipe: Recipe, tokens: float, unique: float, spread: float) -> Estimate:
        gain = self.now - self.law.rank(self.law.size(recipe), tokens, unique)
        scale = self.scale
        return Estimate(
            value=scale.value * gain,
            low=scale.low * gain / spread,
            high=scale.high * gain * spread,
            evidence=scale.evidence,
            rests_on=scale.words,
        )

    def _seconds(self, tokens: float, ratio: float, spread: float) -> Estimate:
        value = tokens * self.facts.seconds_a_token * ratio
        evidence: Evidence = "measured" if ratio == 1.0 else "extrapolated"
        return Estimate(
            value=value, low=value / spread, high=value * spread, evidence=evidence, rests_on="the run's own speed"
        )

    def _option(self, what: str, gain: Estimate, seconds: Estimate, command: str, note: str) -> Option:
        loss = Estimate(
            value=self.facts.loss - gain.value,
            low=self.facts.loss - gain.high,
            high=self.facts.loss - gain.low,
            evidence=gain.evidence,
            rests_on=gain.rests_on,
        )
        return Option(what=what, gain=gain, loss=loss, seconds=seconds, command=command, note=note)


def branch_path(facts: RunFacts) -> RatePath:
    """Return the learning rate of the run, and after it of a branch to TIMES its steps that stretches the schedule."""
    schedule, steps = facts.recipe.schedule, facts.steps
    longer = steps + facts.new_steps
    start = schedule.start
    stretched: Any = dataclasses.replace(schedule, steps=None) if has_span(schedule) else schedule

    def share(step: int) -> float:
        if step >= steps and facts.recipe.data.fresh:  # its branch counts steps from 0
            return rate_share(stretched, facts.new_steps, step - steps)
        one, length = (schedule, facts.length) if step < steps else (stretched, longer)
        return rate_share(one, max(1, length - start), max(0, step - start))

    return rate_path(share, longer)


def repetition(passes: float) -> str:
    """Describe the worth of the last token read: the derivative of the effective tokens (arXiv 2305.16264), e^(-R / R*)."""
    if passes <= 1.0:
        return "every token is new"
    return f"in pass {passes:.3g} a token teaches {math.exp(-(passes - 1.0) / REPETITIONS_WORTH):.0%} of what a new one does"


def _flags(settings: dict[str, Any]) -> str:
    return " ".join(f"--{name} {value}" for name, value in settings.items())


def _nothing() -> Estimate:
    return Estimate(value=0.0, low=0.0, high=0.0, evidence="measured", rests_on="the run's verdict")
