"""A run trained for longer: its loss on the way from its own curve, under the learning rate of its branch."""

import dataclasses
import json
import math

import numpy as np
import pytest

from lmlab import LabError
from lmlab.optim.schedule import rate_share
from lmlab.planning.inverse.shapes import counted_parameters
from lmlab.planning.losses.longer import branched_path, longer_run
from lmlab.planning.next_steps.facts import RunFacts
from lmlab.recipe import load_recipe, override
from lmlab.report.longer import draw_longer, write_longer

RECIPE = override(load_recipe("shakespeare-cpu"), {"schedule.kind": "constant"})


def true_loss(step, entropy=1.4, reducible=1.1, beta=0.45):
    return entropy + reducible * (step / 400) ** -beta


def facts_of_curve(losses=true_loss, **changes) -> RunFacts:
    recipe = changes.pop("recipe", RECIPE)
    generator = np.random.default_rng(5)
    curve = tuple((step, losses(step) * (1 + 0.003 * generator.standard_normal())) for step in range(100, 2001, 100))
    own = RunFacts(
        name="one",
        folder="runs/one",
        recipe=recipe,
        vocabulary=65,
        parameters=counted_parameters(recipe, 65),
        length=2_000,
        steps=2_000,
        tokens=1_536_000,
        unique_tokens=4_000_000,
        loss=curve[-1][1],
        step_tokens=768,
        seconds_a_token=1 / 25_000,
        curve=curve,
        turned=False,
    )
    return dataclasses.replace(own, **changes)


def longer(steps, facts=None, **settings):
    facts = facts or facts_of_curve()
    recipe = override(facts.recipe, {"train.steps": steps, **settings})
    return longer_run(facts, recipe, "the rate is constant", "lmlab train --from runs/one")


def test_the_loss_of_a_known_curve_lies_in_the_interval_at_every_step_that_is_shown():
    found = longer(10_000)
    assert [place.step for place in found.places] == [3_600, 5_200, 6_800, 8_400, 10_000]
    for place in found.places:
        assert place.loss.holds(true_loss(place.step))
        assert place.tokens == 1_536_000 + (place.step - 2_000) * 768
        assert place.seconds == pytest.approx((place.step - 2_000) * 768 / 25_000)
    widths = [place.loss.high - place.loss.low for place in found.places]
    assert widths == sorted(widths)
    values = [place.loss.value for place in found.places]
    assert values == sorted(values, reverse=True) and found.unknown == ""


def test_beyond_five_times_the_run_no_loss_is_said():
    found = longer(20_000)
    assert [place.loss is None for place in found.places] == [False, False, True, True, True]
    assert "beyond 10,000 steps" in found.unknown and found.lines()[-2] == found.unknown
    assert sum(line.endswith("unknown") for line in found.lines()) == 3


def test_a_run_that_had_turned_up_and_one_with_few_evaluations_have_no_loss_to_come():
    turned = longer(4_000, facts_of_curve(turned=True))
    assert all(place.loss is None for place in turned.places) and "has risen since step 2,000" in turned.unknown
    few = facts_of_curve()
    few = dataclasses.replace(few, curve=few.curve[-2:])
    assert "its curve of 2 evaluations" in longer(4_000, few).unknown
    with pytest.raises(LabError, match="there is no picture of a longer one"):
        draw_longer(longer(4_000, few))


def test_the_learning_rate_is_that_of_the_run_and_then_that_of_its_branch():
    cosine = load_recipe("shakespeare-cpu")
    branch = override(cosine, {"train.steps": "10000", "schedule.steps": "none"})
    path = branched_path(facts_of_curve(recipe=cosine), branch)
    for step in (500, 1_500):
        assert path.share_at(step) == pytest.approx(rate_share(cosine.schedule, 2_000, step), abs=0.01)
    for step in (4_000, 9_000):
        assert path.share_at(step) == pytest.approx(rate_share(branch.schedule, 10_000, step), abs=0.01)
    # The part of a path until a step ends there, with the same sum.
    part = path.until(5_000)
    assert part.length == 5_000 and part.sums[-1] == pytest.approx(path.sum_at(5_000))


def test_a_loss_that_evaluations_of_a_sample_had_too_low_stays_as_far_above_them():
    own = facts_of_curve()
    above = dataclasses.replace(own, loss=own.loss + 0.1)
    for one, other in zip(longer(4_000, own).places, longer(4_000, above).places, strict=True):
        assert other.loss.value == pytest.approx(one.loss.value + 0.1)


def test_text_that_is_read_again_and_again_is_named():
    found = longer(10_000, facts_of_curve(unique_tokens=600_000))
    assert any(line.startswith("! in pass 12.8") for line in found.lines())
    assert not any(line.startswith("!") for line in longer(10_000).lines())


def test_fewer_steps_than_the_run_has_are_refused():
    with pytest.raises(LabError, match="one is at step 2,000 already: expected --train.steps above that"):
        longer(2_000)


def test_json_and_picture_have_the_same_losses(tmp_path):
    found = longer(10_000)
    value = json.loads(json.dumps(found.to_json()))
    assert value["steps"][-1]["loss"]["value"] == found.places[-1].loss.value and not math.isnan(value["loss"])
    figure = draw_longer(found)
    expected = figure.axes[0].lines[-2]
    assert expected.get_ydata()[-1] == pytest.approx(found.places[-1].loss.value)
    assert [path.name for path in write_longer(found, tmp_path)] == ["longer.svg", "longer.png"]
