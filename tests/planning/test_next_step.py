"""What to do after a run: ranked by gain an hour."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex

import pytest

from lmlab import LabError
from lmlab.experiment.parent import parent_of
from lmlab.experiment.start import train
from lmlab.model.cost import flops_per_token
from lmlab.planning.inverse.shapes import counted_parameters
from lmlab.planning.losses.known_law import KnownLaw, published_law
from lmlab.planning.next_steps.facts import RunFacts, facts_of
from lmlab.planning.next_steps.ranking import branch_path, next_steps
from lmlab.planning.next_steps.text import lines_of, text_line, to_json
from lmlab.recipe import Recipe, load_recipe, override
from lmlab.runs import Run, create_run
from lmlab.scaling.law import BESIROGLU, LossLaw
from lmlab.training.display import Quiet

# Fitted to 18 runs of this recipe's style.
LAW = LossLaw(entropy=0.894, a=11.96, b=10.93, alpha=0.3221, beta=0.1744)
OWN = KnownLaw(
    expected=published_law(65).expected,
    rank=LAW.loss,
    size=lambda recipe: counted_parameters(recipe, 65),
    fitted=True,
    source="18 runs",
)
RECIPE = load_recipe("shakespeare-cpu")
# Validation losses of a run of this recipe, 2,000 steps.
CURVE = tuple(
    (step, LAW.loss(804_224, step * 768) + 0.15 * (1 - math.cos(math.pi * min(1.0, 1 - step / 2000))) / 2)
    for step in range(100, 2001, 100)
)


def facts(**changes) -> RunFacts:
    own = RunFacts(
        name="shakespeare-cpu-1",
        folder="runs/shakespeare-cpu-1",
        recipe=RECIPE,
        vocabulary=65,
        parameters=counted_parameters(RECIPE, 65),
        length=2_000,
        steps=2_000,
        tokens=1_536_000,
        unique_tokens=1_003_854,
        loss=1.889,
        step_tokens=768,
        seconds_a_token=1 / 25_000,
        curve=CURVE,
        turned=False,
    )
    return dataclasses.replace(own, **changes)


def options(found):
    return {option.what: option for option in found.options}


def test_gains_are_the_fitted_laws_own():
    found = options(next_steps(facts(), OWN))
    own = facts()
    now = LAW.loss(own.parameters, own.tokens, own.unique_tokens)
    more = LAW.loss(own.parameters, 2 * own.tokens, own.unique_tokens)
    assert found["more steps"].gain.value == pytest.approx(now - more)
    assert found["more steps"].loss.value == pytest.approx(1.889 - (now - more))
    # The branch on new text reads each new token once; the old ones stay read 1.53 times (arXiv 2305.16264, equation 5).
    repeated = own.tokens / own.unique_tokens - 1
    worth = own.unique_tokens * (1 + 15.39 * (1 - math.exp(-repeated / 15.39))) + own.tokens
    assert found["more text"].gain.value == pytest.approx(now - LAW.loss(own.parameters, worth))


def test_times_are_at_the_runs_own_speed():
    found = options(next_steps(facts(), OWN))
    assert found["more steps"].seconds.value == pytest.approx(1_536_000 / 25_000)
    assert found["more steps"].gain_an_hour == pytest.approx(
        found["more steps"].gain.value / (1_536_000 / 25_000) * 3600
    )
    larger = found["more parameters"]
    width = int(larger.command.partition("--model.width ")[2].split()[0])
    layers = int(larger.command.partition("--model.layers ")[2].split()[0])
    shape = dataclasses.replace(RECIPE.model, width=width, layers=layers)
    ratio = flops_per_token(shape, 65).training / flops_per_token(RECIPE.model, 65).training
    assert larger.seconds.value == pytest.approx(ratio * 1_536_000 / 25_000)
    assert found["more parameters and steps"].seconds.value == pytest.approx(2 * larger.seconds.value)


def test_a_published_law_is_scaled_to_the_runs_own_curve():
    # Its constants promise several nats to a model of this size; the curve knows better.
    promised = BESIROGLU.law.loss(804_224, 1_536_000) - BESIROGLU.law.loss(804_224, 3_072_000)
    found = options(next_steps(facts(), published_law(65)))
    gain = found["more steps"].gain
    assert promised > 2
    assert gain.low < LAW.loss(804_224, 1_536_000) - LAW.loss(804_224, 3_072_000) < gain.high
    assert 0.02 < gain.value < 0.2
    assert gain.evidence == "extrapolated"


def test_without_a_curve_the_gain_may_be_nothing_and_is_called_published():
    found = options(next_steps(facts(curve=()), published_law(65)))
    assert found["more steps"].gain.low == 0 and found["more steps"].gain.evidence == "published"


def test_text_that_is_read_often_makes_new_text_the_first_choice():
    often = facts(unique_tokens=50_000)
    assert next_steps(often, OWN).options[0].what == "more text"
    rarely = next_steps(facts(unique_tokens=10**9), OWN)
    assert "more text" not in options(rarely)


def test_the_order_is_by_gain_an_hour():
    found = next_steps(facts(), OWN)
    gains = [option.gain_an_hour for option in found.options if option.what != "more text"]
    assert gains == sorted(gains, reverse=True)


def test_a_run_that_memorised_its_text_gets_the_advice_of_more_text():
    turned = facts(turned=True, unique_tokens=50_000)
    found = next_steps(turned, OWN)
    assert found.options[0].what == "more text"
    assert "@best" in found.options[0].command
    assert options(found)["more steps"].gain.value == options(found)["more parameters"].gain.value == 0
    assert any("memorises the text" in line for line in map(str, lines_of(found)))


def test_more_parameters_are_never_the_model_that_is_there():
    narrow = override(RECIPE, {"model.width": "32", "model.heads": "1", "model.layers": "1", "model.context": "32"})
    own = facts(recipe=narrow, parameters=counted_parameters(narrow, 65), curve=())
    assert int(flags(options(next_steps(own, OWN))["more parameters"].command)["model.width"]) > 32
    widest = override(RECIPE, {"model.width": "8192", "model.heads": "64"})
    own = facts(recipe=widest, parameters=counted_parameters(widest, 65), curve=())
    assert set(options(next_steps(own, OWN))) == {"more steps", "more text"}


def flags(command):
    words = shlex.split(command)
    return {
        name.removeprefix("--"): value for name, value in zip(words, words[1:], strict=False) if name.startswith("--")
    }


def test_commands_of_a_run_that_names_epochs_say_steps_instead():
    recipe = override(RECIPE, {"train.epochs": "1.53", "schedule.steps": "2000"})
    found = options(next_steps(facts(recipe=recipe, folder="my runs/one"), OWN))
    assert flags(found["more steps"].command) == {"from": "my runs/one", "train.epochs": "none", "train.steps": "4000"}
    whole = found["more parameters and steps"].command
    assert whole.startswith("lmlab train 'my runs/one/recipe.toml' ")
    again = override(recipe, flags(whole))
    assert (again.train.epochs, again.train.steps, again.schedule.steps) == (None, 4_000, None)


def test_a_run_on_fresh_tokens_counts_its_parents_tokens_and_its_own_steps():
    recipe = override(RECIPE, {"data.fresh": "yes", "train.steps": "500", "schedule.start": "20"})
    own = facts(recipe=recipe, steps=500, length=500, unique_tokens=4_000_000, curve=())
    found = options(next_steps(own, OWN))
    # Twice 1,536,000 tokens are 2,000 steps more, over all of the text.
    assert flags(found["more steps"].command) == {"from": own.folder, "data.fresh": "no", "train.steps": "2000"}
    path = branch_path(own)
    assert path.length == 2_500 and path.shares[-1] == pytest.approx(0.1, abs=0.01)
    # The branch warms up again.
    assert path.shares[list(path.steps).index(min(step for step in path.steps if step >= 500))] < 0.1
    again = override(recipe, flags(found["more parameters"].command))
    assert (again.data.fresh, again.train.steps, again.schedule.start) == (False, 2_000, 0)
    assert text_line(own) == f"text: 38% of 4M tokens read; it is used up at step {500 + 3_209:,}"


def test_a_model_too_large_for_its_text_is_not_made_larger():
    found = options(next_steps(facts(unique_tokens=80_000), OWN))
    assert found["more parameters"].gain.value == 0
    assert "too large for a text of 80k tokens" in found["more parameters"].note


def test_it_says_when_the_text_is_used_up():
    # 1,003,854 tokens at 768 a step
    unread = text_line(facts(length=400, steps=400, tokens=307_200))
    assert unread == "text: 31% of 1M tokens read; it is used up at step 1,308"
    # e^(-(passes - 1) / 15.39)
    assert "in pass 10 a token teaches 56%" in text_line(facts(tokens=10_038_540))


def test_the_branch_goes_back_up_with_its_stretched_schedule():
    path = branch_path(facts())
    shares = dict(zip(path.steps.tolist(), path.shares.tolist(), strict=True))
    assert path.length == 4_000
    assert path.shares[-1] == pytest.approx(0.1, abs=0.01)
    before = max(step for step in shares if step < 1_999)
    after = min(step for step in shares if step >= 2_000)
    assert shares[before] == pytest.approx(0.1, abs=0.01) and shares[after] == pytest.approx(0.56, abs=0.02)


def test_json_and_lines_say_the_same():
    found = next_steps(facts(), OWN)
    value = json.loads(json.dumps(to_json(found)))
    assert [option["what"] for option in value["options"]] == [option.what for option in found.options]
    lines = list(map(str, lines_of(found)))
    assert lines[0] == "shakespeare-cpu-1: loss 1.8890 after 1.54M tokens with 804k parameters"
    assert f"first: {found.options[0].command}" in lines


def test_facts_come_from_a_runs_files(tmp_path):
    made = create_run(
        tmp_path, "one", RECIPE, {"vocabulary_size": 65, "data": [{"id": "0" * 16, "train_tokens": 1_003_854}]}
    )
    with pytest.raises(LabError, match="one hasn't finished, so it has no final loss: lmlab resume one"):
        facts_of(Run(made.folder))
    summary = {
        "finished": True,
        "steps": 2_000,
        "tokens": 1_536_000,
        "final": {"step": 2_000, "loss": 2.0},
        "best": {"step": 1_500, "loss": 1.9},
        "verdict": {"kind": "overfitting"},
        "seconds": {"train": 60.0, "total": 66.0},
        "score": {"tokens_per_second": {"measured": 25_600.0}},
    }
    made.write("summary.json", summary)
    lines = [
        {"format": 1, "kind": "evaluation", "step": step, "valid_loss": loss}
        for step, loss in ((1_000, 2.0), (1_500, 1.9), (2_000, 2.0))
    ]
    (made.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = facts_of(Run(made.folder))
    # It had memorised its text after step 1,500.
    assert found.turned and (found.steps, found.loss, found.tokens) == (1_500, 1.9, 1_536_000 - 500 * 12 * 64)
    assert found.curve == ((1_000, 2.0), (1_500, 1.9))
    assert found.seconds_a_token == pytest.approx(66 / 60 / 25_600)
    assert found.unique_tokens == 1_003_854

    made.write("summary.json", {**summary, "verdict": {"kind": "none"}})
    found = facts_of(Run(made.folder))
    assert not found.turned and (found.steps, found.loss, found.tokens) == (2_000, 2.0, 1_536_000)

    made.write("summary.json", {**summary, "best": {"step": 0, "loss": 1.9}})
    with pytest.raises(LabError, match="one was best before its first step"):
        facts_of(Run(made.folder))

    made.write("summary.json", {"finished": True})
    with pytest.raises(LabError, match="one lacks figures that a plan needs"):
        facts_of(Run(made.folder))


@pytest.mark.slow
def test_a_real_run_gives_its_facts(tmp_path, tiny_text_file):
    settings = {
        "data.corpus": str(tiny_text_file),
        "data.tokenizer": "characters",
        "model.layers": "1",
        "model.heads": "1",
        "model.width": "16",
        "model.context": "16",
        "train.steps": "24",
        "train.batch": "4",
        "train.device": "cpu",
        "train.engine": "torch",
        "evaluate.every": "4",
    }
    outcome = train(override(Recipe(), settings), runs=tmp_path, display=Quiet(), say=lambda line: None)
    found = facts_of(outcome.run)
    assert found.tokens == 24 * 4 * 16 and found.steps == 24
    assert found.loss == outcome.summary["final"]["loss"]
    assert len(found.curve) >= 6
    assert 0 < found.seconds_a_token < 1
    assert next_steps(found, published_law(65)).options

    # Fresh tokens are counted from 0, those of the run before them too.
    def tokens_of_branch(name, parent, steps, **settings):
        recipe = override(outcome.run.recipe(), {"train.steps": steps, **settings})
        parent = parent_of(parent, tmp_path)
        made = train(recipe, run=name, parent=parent, runs=tmp_path, display=Quiet(), say=lambda line: None)
        return facts_of(made.run).tokens

    assert tokens_of_branch("longer", outcome.run.name, 30) == 30 * 4 * 16
    fresh = tokens_of_branch("fresh", outcome.run.name, 8, **{"data.fresh": True})
    assert fresh == pytest.approx((24 + 8) * 4 * 16, rel=0.01)
    assert tokens_of_branch("again", "fresh", 10) == pytest.approx(fresh + 10 * 4 * 16, rel=0.01)
