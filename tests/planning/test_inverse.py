"""Inverse planning: the best model for a budget, against a slow search and the closed form of the law."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from lmlab import LabError
from lmlab.hardware.cards import card_named
from lmlab.model.cost import flops_per_token
from lmlab.planning.cards.price import price_in
from lmlab.planning.forecasts.duration import START_SECONDS
from lmlab.planning.inverse.budget import Budget, budget_of
from lmlab.planning.inverse.resources import Resources, resources_on
from lmlab.planning.inverse.search import MOST_PARAMETERS_A_TOKEN, NOT_WORTH_IT, CorpusFacts, inverse_plan
from lmlab.planning.inverse.shapes import counted_parameters, shapes_like
from lmlab.planning.inverse.speed import card_speed
from lmlab.planning.inverse.text import lines_of, sentence, to_json, toml_of
from lmlab.planning.losses.known_law import KnownLaw, own_law, published_law
from lmlab.recipe import check, from_toml, load_recipe, override, with_settings
from lmlab.scaling.estimate import Estimate
from lmlab.scaling.fit import LossPoint, fit_law
from lmlab.scaling.law import LossLaw

# Fitted to 18 runs of shakespeare-cpu's style: characters, 10k to 800k parameters, 50k to 1.5M tokens.
LAW = LossLaw(entropy=0.894, a=11.96, b=10.93, alpha=0.3221, beta=0.1744)
SHAKESPEARE = CorpusFacts(train_tokens=1_003_854, valid_tokens=111_540, vocabulary=65)
PLENTY = CorpusFacts(train_tokens=10**15, valid_tokens=1_000, vocabulary=65)
FLOPS_A_SECOND = 120e9


def law(parameters: float, tokens: float, unique: float) -> Estimate:
    value = LAW.loss(parameters, tokens, unique)
    return Estimate(value=value, low=0.97 * value, high=1.03 * value, evidence="fitted", rests_on="18 runs")


KNOWN = KnownLaw(
    expected=law, rank=LAW.loss, size=lambda recipe: counted_parameters(recipe, 65), fitted=True, source="18 runs"
)


def speed(recipe):
    value = FLOPS_A_SECOND / flops_per_token(recipe.model, 65).training
    return Estimate(value=value, low=0.9 * value, high=1.1 * value, evidence="measured", rests_on="real steps")


HERE = Resources(speed=speed)


def plan(*texts, loss=None, disk=None, corpus=SHAKESPEARE, resources=HERE, recipe="shakespeare-cpu", **settings):
    base = override(load_recipe(recipe), settings)
    return inverse_plan(base, corpus, budget_of(texts, loss=loss, disk=disk), KNOWN, resources)


def test_a_planned_recipe_can_be_trained_for_fewer_steps_with_another_batch():
    written = from_toml(toml_of(plan("10min").best, "night"))
    steps, batch = written.train.steps, written.train.batch
    fewer = check(with_settings(written, {"train.steps": 60}))
    assert fewer.schedule.warmup == round(written.schedule.warmup * 60 / steps) <= 60
    assert fewer.evaluate.every == max(1, round(written.evaluate.every * 60 / steps))
    larger = check(with_settings(written, {"train.batch": 2 * batch}))
    assert larger.train.steps == round(steps / 2)
    with pytest.raises(LabError, match="schedule.warmup 79 is longer than train.steps 60"):
        check(with_settings(written, {"train.steps": 60, "schedule.warmup": 79}))


def test_no_shape_with_any_number_of_tokens_does_better_in_that_time():
    found = plan("10min").best
    lowest = math.inf
    for shape in shapes_like(load_recipe("shakespeare-cpu")):
        parameters = counted_parameters(shape, 65)
        most = (600 - START_SECONDS) * speed(shape).value
        for share in range(1, 41):
            tokens = share / 40 * most / 1.05
            if tokens <= 20 * SHAKESPEARE.train_tokens and parameters <= 11 * SHAKESPEARE.train_tokens:
                lowest = min(lowest, LAW.loss(parameters, tokens, SHAKESPEARE.train_tokens))
    assert found.loss.value == pytest.approx(lowest, abs=2 * NOT_WORTH_IT)
    assert 500 < found.seconds.value <= 600


def test_with_text_enough_the_size_is_the_closed_forms():
    # At context 2 and 65 tokens, a model's operations are 6 N D but for its attention.
    found = plan("3e15flops", corpus=PLENTY, **{"model.context": "16"}).best
    # arXiv 2203.15556, equation 4
    both = LAW.alpha + LAW.beta
    scale = (LAW.alpha * LAW.a / (LAW.beta * LAW.b)) ** (1 / both)
    optimum = scale * (3e15 / 6) ** (LAW.beta / both)
    assert 1 / 1.5 < found.parameters / optimum < 1.5
    assert found.loss.value == pytest.approx(LAW.loss(optimum, 3e15 / 6 / optimum), abs=0.01)
    assert 0.95 * 3e15 < found.flops <= 3e15


def test_little_text_makes_a_larger_model_with_fewer_passes_than_plenty_would():
    little, much = plan("1h").best, plan("1h", corpus=dataclasses.replace(SHAKESPEARE, train_tokens=10**9)).best
    assert little.parameters > much.parameters
    assert little.tokens < much.tokens
    assert little.passes <= 20


def test_no_model_is_far_too_large_for_its_text_however_long_it_may_train():
    tiny = CorpusFacts(train_tokens=100_000, valid_tokens=10_000, vocabulary=65)
    found = plan("30d", corpus=tiny)
    largest = max(MOST_PARAMETERS_A_TOKEN * 100_000, counted_parameters(load_recipe("shakespeare-cpu"), 65))
    assert all(row.parameters <= largest and row.passes <= 20 for row in found.table)
    assert found.limit == "text"
    assert any("the limit is the text" in line for line in map(str, lines_of(found)))


def test_a_text_that_is_read_often_is_not_memorised():
    often = plan("4h", recipe="shakespeare-fast").best
    assert often.passes > 6
    model = often.recipe.model
    assert not model.ngrams
    assert model.dropout > 0 and often.recipe.train.patience > 0
    assert often.recipe.optim.weight_decay == 0.3
    assert any("may memorise it" in line for line in map(str, lines_of(plan("4h", recipe="shakespeare-fast"))))
    once = plan("1min", recipe="shakespeare-fast", corpus=PLENTY).best
    assert once.recipe.model.ngrams == load_recipe("shakespeare-fast").model.ngrams


def test_a_loss_is_reached_in_the_least_time():
    found = plan(loss=1.75)
    assert found.reached and found.limit == "loss"
    assert found.best.loss.value == pytest.approx(1.75, abs=0.005)
    # In a tenth less time nothing gets there.
    less = plan(f"{0.9 * found.best.seconds.value:.0f}s").best
    assert less.loss.value > found.best.loss.value


def test_a_loss_out_of_reach_says_so_and_gives_the_lowest():
    found = plan("5min", loss=0.95)
    assert not found.reached
    assert found.best.loss.value == pytest.approx(plan("5min").best.loss.value)
    assert any("loss 0.95 is out of reach within 5 min 00 s" in line for line in map(str, lines_of(found)))


def test_what_does_not_fit_is_named():
    with pytest.raises(
        LabError, match="the text is too short: 500 tokens, read 20 times, are fewer than 200 steps of 64"
    ):
        plan("8h", corpus=CorpusFacts(train_tokens=500, valid_tokens=50, vocabulary=65))
    full = dataclasses.replace(HERE, memory=lambda recipe: 100e6, memory_limit=50e6)
    with pytest.raises(LabError, match="nothing fits into memory: the smallest model .* takes 100 MB of 50 MB"):
        plan("8h", resources=full)


def test_limits_hold_together():
    both = plan("1h", "1e13flops").best
    assert both.flops <= 1e13 and both.seconds.value < 200
    small = plan("1h", disk="20MB", resources=dataclasses.replace(HERE, disk=lambda recipe: 60.0 * parameters(recipe)))
    assert small.best.disk <= 20e6 and small.best.parameters <= 20e6 / 60
    narrow = dataclasses.replace(HERE, memory=lambda recipe: 16.0 * parameters(recipe), memory_limit=8e6)
    found = plan("1h", resources=narrow)
    assert found.best.parameters <= 500_000 and found.limit == "room"
    assert plan("1h").limit == "time" and plan("1e13flops").limit == "compute"


def parameters(recipe) -> int:
    return counted_parameters(recipe, 65)


def test_the_table_is_a_front_no_row_is_both_slower_and_worse():
    found = plan("1h")
    times, losses = [row.seconds.value for row in found.table], [row.loss.value for row in found.table]
    assert times == sorted(times) and losses == sorted(losses, reverse=True)
    assert found.best in found.table
    assert [row.within for row in found.table] == [row.seconds.value <= 3600 for row in found.table]
    assert not found.table[-1].within and found.table[0].seconds.value < 600


def test_the_best_keeps_to_its_budget_though_evaluations_have_a_least_size():
    base = override(load_recipe("the-verdict"), {"train.epochs": "10"})
    corpus = CorpusFacts(train_tokens=10**10, valid_tokens=10**7, vocabulary=50_257)
    there = resources_on(card_named("h100"), 50_257)
    found = inverse_plan(base, corpus, budget_of(["8h"]), published_law(50_257), there)
    assert found.best.within and found.best.seconds.value > 0.8 * 8 * 3600
    assert found.limit == "time"
    assert found.best.recipe.train.steps / found.best.recipe.evaluate.every <= 100


def test_models_that_are_as_good_are_named():
    small, large = plan("1h").as_good
    assert small <= plan("1h").best.parameters <= large
    assert small < large


def test_the_best_is_a_recipe_that_can_be_written_and_read_again():
    best = plan("1h").best
    text = toml_of(best, "planned")
    again = from_toml(text)
    assert again.name == "planned" and again.claims == ()
    assert dataclasses.replace(again, name=best.recipe.name, about=best.recipe.about) == best.recipe
    # Schedule and evaluations go with the length.
    own = load_recipe("shakespeare-cpu")
    assert best.recipe.schedule.steps is None
    assert best.recipe.schedule.warmup / best.recipe.train.steps == pytest.approx(100 / 2000, rel=0.01)
    assert best.recipe.train.steps / best.recipe.evaluate.every == pytest.approx(2000 / own.evaluate.every, rel=0.05)


def test_json_has_every_row_with_its_recipe():
    found = plan("1h")
    value = json.loads(json.dumps(to_json(found, price_in("0.3/kWh@65W"))))
    assert value["budget"] == {"seconds": 3600.0}
    assert value["best"]["loss"]["evidence"] == "fitted"
    assert len(value["alternatives"]) == len(found.table)
    assert value["best"]["recipe"]["model"]["layers"] == found.best.recipe.model.layers
    assert value["best"]["cost"]["value"] == pytest.approx(found.best.seconds.value * 65 / 3.6e6 * 0.3)


def test_a_card_that_is_not_here_takes_less_time_for_the_same_loss():
    there = dataclasses.replace(HERE, speed=card_speed(card_named("rtx3090"), 65))
    here, away = plan(loss=1.7).best, plan(loss=1.7, resources=there).best
    assert away.seconds.value < here.seconds.value
    assert away.seconds.evidence == "published"
    assert away.seconds.high / away.seconds.low > 1.5 or away.seconds.value < 2 * START_SECONDS


def test_where_no_law_knows_a_loss_none_is_written_and_the_models_are_still_ordered():
    base, budget = load_recipe("shakespeare-cpu"), budget_of(["1h"])
    found = inverse_plan(base, SHAKESPEARE, budget, published_law(65), HERE)
    assert all(row.loss is None for row in found.table) and 300_000 < found.best.parameters < 11e6
    lines, value = "\n".join(map(str, lines_of(found))).splitlines(), to_json(found)
    assert sum(line.endswith("unknown") for line in lines) == len(found.table)
    assert any(line.startswith("loss: it can't be forecast") and "--ladder" in line for line in lines)
    assert value["best"]["loss"] is None
    # Neither here nor in the file is the loss of a guess among 65 symbols.
    text = "\n".join([*lines, json.dumps(value), toml_of(found.best, "night")])
    assert f"{math.log(65):.3f}" not in text and "expected" not in toml_of(found.best, "night")
    with pytest.raises(LabError, match="how long loss 1.5 takes is unknown"):
        inverse_plan(base, SHAKESPEARE, budget_of([], loss=1.5), published_law(65), HERE)


def test_a_law_of_ones_own_counts_what_every_token_is_multiplied_by():
    points = [
        LossPoint(parameters=size, tokens=tokens, loss=LAW.loss(size, tokens))
        for size in (5e4, 2e5, 8e5)
        for tokens in (1e5, 4e5, 1.6e6)
    ]
    known = own_law(fit_law(points, replicas=20), 65)
    # 4 layers of 12 x 128^2 and a head of 65 x 128
    assert known.size(load_recipe("shakespeare-cpu")) == 4 * 12 * 128**2 + 65 * 128
    assert known.rank(2e5, 4e5, 1e6) == pytest.approx(LAW.loss(2e5, 4e5), rel=0.02)
    found = inverse_plan(load_recipe("shakespeare-cpu"), SHAKESPEARE, budget_of(["5min"]), known, HERE)
    assert found.best.loss.low < found.best.loss.value < found.best.loss.high
    assert "a law fitted to 9 runs" in found.best.loss.rests_on


@pytest.mark.parametrize(("texts", "disk"), [(("5s",), None), (("1000flops",), None), (("1h",), "1kB")])
def test_a_budget_for_nothing_is_refused_with_what_is_needed(texts, disk):
    occupied = dataclasses.replace(HERE, disk=lambda recipe: 60.0 * parameters(recipe))
    with pytest.raises(LabError, match="nothing fits into .*: 200 steps of the smallest model") as caught:
        plan(*texts, disk=disk, resources=occupied)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["8", "eight hours", "3e17", "-1h", "0flops", "1e999flops"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(LabError, match="expected"):
        budget_of([text])


def test_budgets_are_read_as_people_write_them():
    assert budget_of(["8h"]) == Budget(seconds=28_800)
    assert budget_of(["1h", "2h", "3e17flops"]) == Budget(seconds=3600, flops=3e17)
    assert budget_of([], loss=1.5, disk="20GB") == Budget(loss=1.5, disk=20e9)
    assert budget_of(["2.5 PFLOP"]).flops == 2.5e15
    with pytest.raises(LabError, match="there is no budget: expected --budget 8h"):
        budget_of([])


def test_the_answer_names_tables_and_counts_one_as_one():
    best = plan("1h").best
    model = dataclasses.replace(best.recipe.model, layers=1, heads=1, width=32, ngrams=(2, 3), ngram_rows=16_384)
    line = sentence(dataclasses.replace(best, recipe=dataclasses.replace(best.recipe, model=model)))
    assert "parameters + 1.05M in n-gram tables (1 layer, 1 head, 32 wide" in line
    assert "tables" not in sentence(best)
