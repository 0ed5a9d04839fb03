"""What lies between two runs, trained for real in small, and shared out."""

import dataclasses
import itertools
import json
import math
import shutil
import statistics

import numpy as np
import pytest
import scipy.stats
import torch

from lmlab import LabError
from lmlab.cli import main
from lmlab.experiment.parent import parent_of
from lmlab.experiment.ranges import Range
from lmlab.experiment.reading import read_record
from lmlab.experiment.start import train
from lmlab.recipe import Recipe, load_recipe, override, to_toml
from lmlab.report.waterfall import bars_of
from lmlab.runs import change_tags, list_runs, open_run
from lmlab.study.compare.comparing import compare
from lmlab.study.compare.comparison import Asked
from lmlab.study.explain.beside import given_endpoints
from lmlab.study.explain.case import Reported, case_names, load_case
from lmlab.study.explain.continuing import continued_recipe
from lmlab.study.explain.differing import comparable, factors_between, settings_of
from lmlab.study.explain.endpoints import Endpoint, common_devices, endpoints_of_runs, unmeasured
from lmlab.study.explain.explaining import ExplainWishes, explain
from lmlab.study.explain.interpolation import Interpolation, choose_interpolation
from lmlab.study.explain.predictions import holds
from lmlab.study.explain.regime import Regime, RegimeEnding, ending_of, reported_ending
from lmlab.study.explain.residual import residual_of_runs
from lmlab.study.grid.design import cells_of, recipe_of
from lmlab.study.verify.verification import verify
from lmlab.training.display import Quiet
from tests.study.test_studying import SMALL
from tests.trial import tried_before


@pytest.fixture(autouse=True)
def _trials_are_made_up(monkeypatch):
    monkeypatch.setattr("lmlab.study.grid.hours.try_here", tried_before)


def recipes_on(text):
    """Two recipes on a text that differ in width, steps and dropout, and in the seed."""
    recipe = override(Recipe(), {**SMALL, "data.corpus": str(text)})
    return recipe, override(
        recipe, {"model.width": "32", "train.steps": "24", "model.dropout": "0.1", "train.seed": "5"}
    )


@pytest.fixture
def two_recipes(tiny_text_file):
    """See `recipes_on`."""
    return recipes_on(tiny_text_file)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory, tiny_text):
    """Runs a and b of them, which nobody may change."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "tiny.txt").write_text(tiny_text, encoding="utf-8")
    for name, one in zip("ab", recipes_on(folder / "tiny.txt"), strict=True):
        train(one, run=name, runs=folder / "runs", display=Quiet(), say=lambda line: None)
    return folder / "runs"


@pytest.fixture(scope="module")
def explained_once(trained_once, tmp_path_factory):
    """The same with the runs between them, which nobody may change."""
    folder = tmp_path_factory.mktemp("explained") / "runs"
    shutil.copytree(trained_once, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lmlab.study.grid.hours.try_here", tried_before)
        explain("a", "b", folder, say=lambda line: None)
    return folder


@pytest.fixture
def two_runs(trained_once, tmp_path):
    """Runs a and b."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def explained_runs(explained_once, tmp_path):
    """Runs a and b, and the runs between them."""
    shutil.copytree(explained_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def recipe_files(two_recipes, tmp_path):
    """Files of recipes that differ in dropout alone."""
    paths = tmp_path / "one.toml", tmp_path / "other.toml"
    recipe, _ = two_recipes
    for path, one in zip(paths, (recipe, override(recipe, {"model.dropout": "0.1"})), strict=True):
        path.write_text(to_toml(one))
    return paths


def test_differences_are_grouped_and_all_of_them_together_are_the_other_recipe():
    one = override(Recipe(), {"schedule.steps": "100", "train.steps": "100"})
    words = {
        "model.width": "64", "model.heads": "2", "model.context": "32", "train.batch": "8", "train.steps": "300",
        "optim.kind": "muon",
        "schedule.kind": "wsd", "schedule.steps": "none", "model.dropout": "0.1", "train.seed": "7", "train.threads": "1",
        "evaluate.every": "9", "data.tokens": "5000", "model.tied": "no",
    }  # fmt: skip
    other = override(one, words)
    endpoints = comparable(one, 100, "fp32"), comparable(other, 300, "bf16")
    factors = factors_between(*endpoints)
    assert [factor.name for factor in factors] == [
        *("data amount", "model size", "context", "dropout", "batch", "steps", "precision"),
        *("architecture", "optimizer", "schedule"),
    ]
    whole = recipe_of((1,) * len(factors), factors, endpoints[0])
    assert factors_between(whole, endpoints[1]) == () and factors_between(endpoints[0], endpoints[0]) == ()
    assert recipe_of((0,) * len(factors), factors, endpoints[0]) == endpoints[0]


def test_two_families_of_models_differ_in_one_factor():
    # One family's settings alone mean nothing in the other.
    endpoints = Recipe(), override(Recipe(), {"model.kind": "context", "model.layers": "9", "model.context": "32"})
    for one, other in (endpoints, endpoints[::-1]):
        factors = factors_between(one, other)
        assert [factor.name for factor in factors] == ["architecture"]
        assert recipe_of((1,), factors, one) == other


def test_a_schedule_over_the_whole_run_goes_with_its_steps():
    one = override(Recipe(), {"schedule.steps": "100", "train.steps": "100"})
    longer = override(one, {"schedule.steps": "400", "train.steps": "400"})
    factors = factors_between(comparable(one, 100, "fp32"), comparable(longer, 400, "fp32"))
    assert [factor.name for factor in factors] == ["steps"]


def test_interpolation_takes_all_sets_or_six_pairs_of_orders_and_shortens_trainings_to_fit():
    factors = tuple(
        dataclasses.replace(factor, name=f"f{place}")
        for place, factor in enumerate(factors_between(Recipe(), override(Recipe(), {"model.dropout": "0.1"})) * 7)
    )
    whole = choose_interpolation(factors, 1, None, lambda cell: 1.0)
    assert (whole.pairs, whole.share, whole.seconds) == (6, 1.0, len(cells_of(factors, "subsets", 6)))
    short = choose_interpolation(factors, 1, 0.3 * whole.seconds, lambda cell: 1.0)
    assert (short.pairs, short.share) == (6, 0.25) and short.seconds <= 0.3 * whole.seconds
    assert choose_interpolation(factors[:5], 1, None, lambda cell: 1.0).pairs == 0, "all 32 sets"
    with pytest.raises(LabError, match="longer --budget"):
        choose_interpolation(factors, 1, 0.1, lambda cell: 1.0)
    assert choose_interpolation(factors[:3], 2, None, lambda cell: 1.0).seconds == 2 * 8


def test_shares_and_residual_add_up_to_the_difference_of_the_two_runs(two_runs):
    lines: list[str] = []
    found = explain("a", "b", two_runs, ExplainWishes(seeds=1), say=lines.append)
    shares = {effect.name: effect.verdict.difference for effect in found.result.effects if effect.kind == "share"}
    assert set(shares) == {"model size", "dropout", "steps"} and len(found.result.cells.runs) == 8
    assert sum(shares.values()) == pytest.approx(found.difference) and found.residual == pytest.approx(0)
    # The ends of the path are the runs that are there; a further seed of a computes what a's recipe says.
    own = {run.cell: (run.name, run.loss) for run in found.result.cells.runs}
    assert own[(0, 0, 0)] == ("a", found.endpoints[0].loss) and own[(1, 1, 1)] == ("b", found.endpoints[1].loss)
    assert sum("differs" not in line and ": loss " in line for line in lines) == 6  # trained
    assert "nothing is left unexplained" in found.lines()
    # Once more trains nothing.
    again: list[str] = []
    assert explain("a", "b", two_runs, ExplainWishes(seeds=1), say=again.append).to_json() == found.to_json()
    assert not any("to train" in line for line in again)


def test_explain_and_compare_find_the_same_seeds_and_come_to_one_verdict(tmp_path, two_recipes):
    recipe, _ = two_recipes
    dropped = override(recipe, {"model.dropout": "0.1"})
    for name, one in {"a": recipe, "b": dropped}.items():
        for seed in (1, 1, 2, 3):
            run = f"{name}-{seed}" if not (tmp_path / f"{name}-{seed}").exists() else f"{name}-{seed}-again"
            changed = override(one, {"train.seed": str(seed)})
            train(changed, run=run, runs=tmp_path, display=Quiet(), say=lambda line: None)
    before = {run.name for run in list_runs(tmp_path)}
    found = explain("a-1-again", "b-2", tmp_path, say=lambda line: None)
    assert {run.name for run in list_runs(tmp_path)} == before  # one factor: nothing lies between
    pair = compare(["b-2", "a-1-again"], tmp_path, Asked()).pairs[0]
    whole = next(effect.verdict for effect in found.result.effects if effect.kind == "stack")
    assert pair.seeds == (3, 3) and pair.noise.to_json() == found.result.noise.to_json()
    assert (whole.kind, whole.seeds_needed) == (pair.verdict.kind, pair.verdict.seeds_needed)
    assert (whole.difference, whole.low, whole.high) == pytest.approx(
        (pair.verdict.difference, pair.verdict.low, pair.verdict.high)
    )
    folder = tmp_path / "study-a-1-again-to-b-2"
    for file in ("study.json", "explain.json"):
        assert verify(folder / file, tmp_path).holds
    # More seeds than are there are trained, and only those.
    more = explain("a-1-again", "b-2", tmp_path, ExplainWishes(seeds=4), say=lambda line: None)
    new = {run.name for run in list_runs(tmp_path)} - before
    assert {len(losses) for losses in more.result.cells.losses().values()} == {4} and len(new) == 2


def test_a_checkpoint_is_explained_as_the_training_up_to_it(two_runs):
    found = explain("a@8", "b", two_runs, ExplainWishes(seeds=1), say=lambda line: None)
    first = found.endpoints[0]
    assert (first.name, first.steps, first.recipe.schedule.steps) == ("a@8", 8, 12)
    # The same schedule up to the same step from the same seed is the same model.
    own = {run.cell: run.loss for run in found.result.cells.runs}
    assert own[(0,) * len(found.result.plan.factors)] == pytest.approx(first.loss, rel=1e-6)
    assert verify(two_runs / "study-a-8-to-b" / "explain.json", two_runs).holds
    with pytest.raises(LabError, match="give a without @"):
        explain("a@8", "b", two_runs, ExplainWishes(continued=True), say=lambda line: None)
    with pytest.raises(LabError, match="trained on nothing"):
        explain("a@init", "b", two_runs, say=lambda line: None)


def test_a_tag_stands_for_the_explained_runs_that_have_it(explained_runs):
    change_tags(explained_runs / "a", ["mine"])
    with pytest.raises(LabError, match="tag:mine names one run, expected two: give the other one, lmlab explain a RUN"):
        explain("tag:mine", "", explained_runs, say=lambda line: None)
    change_tags(explained_runs / "b", ["mine"])
    found = explain("tag:mine", "", explained_runs, say=lambda line: None)
    assert [end.name for end in found.endpoints] == ["a", "b"] and found.result.plan.folder(
        explained_runs
    ).name == "study-a-to-b"


def test_ends_that_were_trained_otherwise_than_the_interpolating_runs_are_not_taken_for_them(two_runs, monkeypatch):
    endpoints = endpoints_of_runs("a", "b", two_runs)
    assert [run.name for run in given_endpoints(endpoints, ("auto", "auto"), 3, two_runs)] == ["a", "b"]
    patient = dataclasses.replace(endpoints[0], recipe=override(endpoints[0].recipe, {"train.patience": "3"}))
    assert not given_endpoints((patient, endpoints[1]), ("auto", "auto"), 3, two_runs)
    assert not given_endpoints(endpoints, ("auto", "auto"), 3, two_runs / "elsewhere")
    assert not given_endpoints(
        tuple(dataclasses.replace(end, proxy=end.recipe) for end in endpoints), ("auto", "auto"), 3, two_runs
    )
    monkeypatch.setattr("lmlab.study.explain.beside.choose_device", lambda name: torch.device("meta"))
    assert not given_endpoints(endpoints, ("auto", "auto"), 3, two_runs)


def test_rounding_of_shorter_trainings_makes_no_factor():
    one = override(Recipe(), {"train.steps": "60", "schedule.warmup": "20"})
    other = override(one, {"train.steps": "100", "model.dropout": "0.1"})
    whole = comparable(one, 60, "fp32"), comparable(other, 100, "fp32")
    short = comparable(one, 60, "fp32", 0.125), comparable(other, 100, "fp32", 0.125)
    # 20 / 60 of 8 steps and 20 / 100 of 12 are 2.7 and 2.4.
    assert (short[0].schedule.warmup, short[1].schedule.warmup) == (3, 2)
    found = factors_between(*short, among=settings_of(factors_between(*whole)))
    assert [factor.name for factor in found] == ["dropout", "steps"]


def test_the_bars_go_from_one_end_to_the_other(two_runs):
    found = explain("a", "b", two_runs, ExplainWishes(seeds=1), say=lambda line: None)
    bars = bars_of(found)
    losses = {run.cell: run.loss for run in found.result.cells.runs}
    assert bars[0].end == losses[(0, 0, 0)] and bars[-1].end == pytest.approx(losses[(1, 1, 1)])
    assert all(one.end == other.start for one, other in itertools.pairwise(bars))
    # Had b come to another loss, the rest would lie between the bridge's end and where their difference ends.
    one, other = found.endpoints
    apart = dataclasses.replace(
        found,
        endpoints=(one, dataclasses.replace(other, loss=other.loss + 0.3)),
        result=dataclasses.replace(found.result, plan=dataclasses.replace(found.result.plan, given=())),
    )
    *before, left, whole = bars_of(apart)
    assert [bar.kind for bar in (*before[-1:], left, whole)] == ["loss", "residual", "difference"]
    assert left.end - left.start == pytest.approx(0.3) and left.limits[0] < left.end < left.limits[1]
    assert (whole.start, whole.end) == pytest.approx((bars[0].end, bars[0].end + apart.difference))
    assert whole.end == pytest.approx(left.end)


def test_the_command_explains_and_its_numbers_can_be_verified(explained_runs, capsys):
    words = ["explain", "a", "b", "--runs", str(explained_runs), "--json"]
    assert main(words) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["difference"] == pytest.approx(value["bridged"] + value["residual"])
    folder = explained_runs / "study-a-to-b"
    assert {"explain.md", "shares.png", "shares.svg"} <= {path.name for path in folder.iterdir()}
    assert main(["verify", str(folder / "study.json")]) == 0
    assert main(["verify", str(folder / "explain.json")]) == 0
    (explained_runs / "b").rename(explained_runs / "renamed")
    assert main(["verify", str(folder / "explain.json")]) == 0
    value["residual"] += 0.01
    (folder / "explain.json").write_text(json.dumps(value))
    capsys.readouterr()
    assert main(["verify", str(folder / "explain.json")]) == 1
    assert capsys.readouterr().out.startswith("residual: ")


def test_continuing_tells_what_steps_do_and_what_a_setting_does_beside_them(explained_runs, capsys):
    words = ["explain", "a", "b", "--continue", "--runs", str(explained_runs), "--json"]
    assert main(words) == 0
    value = json.loads(capsys.readouterr().out)["continued"]
    # Run b has 24 steps, a 12. Another width is nothing that a checkpoint can take.
    assert value["steps"] == 12 and value["left_out"] == ["model size"]
    assert [run["label"] for run in value["runs"]] == ["its own settings", "dropout"]
    own, dropped = (read_record(open_run(run["name"], explained_runs)[0]) for run in value["runs"])
    a = read_record(open_run("a", explained_runs)[0])
    assert (own.step, dropped.step) == (24, 24)
    assert own.known_recipe.model.dropout == 0.0 and dropped.known_recipe.model.dropout == 0.1
    assert own.origin["parent"]["id"] == a.id and own.origin["parent"]["step"] == 12
    differences = [entry["difference"] for entry in value["effects"]]
    assert differences == pytest.approx([own.loss - a.loss, dropped.loss - own.loss])
    assert main(["verify", str(explained_runs / "study-a-to-b" / "explain.json")]) == 0


def test_what_cannot_be_continued_is_refused_before_anything_is_trained(two_runs, monkeypatch):
    def refuse(*words):
        raise LabError("no such recipe")

    monkeypatch.setattr("lmlab.study.explain.continuing.continued_recipe", refuse)
    before = list_runs(two_runs)
    with pytest.raises(LabError, match="no such recipe"):
        explain("a", "b", two_runs, ExplainWishes(continued=True), say=lambda line: None)
    assert list_runs(two_runs) == before


def test_a_continued_run_with_another_batch_warms_up_at_its_own_first_step(two_runs):
    point = parent_of("a@latest", two_runs)
    batch = factors_between(point.recipe, override(point.recipe, {"train.batch": "2"}))
    own, wider = (continued_recipe(point, changed, 10, "x") for changed in ((), batch))
    assert (own.train.steps, own.schedule.start) == (22, 12)
    assert (wider.train.steps, wider.schedule.start) == (10, 0)


def test_two_recipes_are_explained_without_a_run(recipe_files, tmp_path, capsys):
    words = ["explain", *map(str, recipe_files), "--runs", str(tmp_path / "runs"), "--json"]
    assert main(words) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["difference"] is None and value["residual"] is None and value["bridged"] is not None
    assert any(line.startswith("hardware") for line in value["unmeasured"])
    with pytest.raises(LabError, match="two finished runs, or two recipes"):
        explain(str(recipe_files[0]), "a", tmp_path / "runs")


def test_what_was_predicted_is_held_against_trainings(recipe_files, tmp_path, capsys):
    one, other = recipe_files
    case = tmp_path / "case.toml"
    case.write_text(f"""
name = "told"
first = {json.dumps(str(one))}
second = {json.dumps(str(other))}
continued = true
[proxy]
about = "half as wide"
first = {{ model.width = 8 }}
second = {{ model.width = 8 }}
[reported]
first = 3.0
second = {{ valid = 2.5, train = 1.0, best = 2.0 }}
[[predictions]]
says = "twice the steps halve the loss"
settings = {{ train.steps = 24 }}
value = 0.1
[[predictions]]
says = "and the training loss"
settings = {{ train.steps = 24 }}
metric = "train_loss"
value = 0.2
[[predictions]]
says = "going on does nothing"
continued = true
value = 3.0
[[predictions]]
says = "twice the steps stay above nothing"
settings = {{ train.steps = 24 }}
value = "0.1.."
[[predictions]]
says = "and train to almost nothing"
settings = {{ train.steps = 24 }}
metric = "train_loss"
value = "0.1 .. 0.2"
""")
    assert main(["explain", str(case), "--runs", str(tmp_path / "runs"), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["difference"] == pytest.approx(-0.5)
    assert value["residual"] == pytest.approx(-0.5 - value["bridged"])
    # The interpolating runs train the scale model, all else of the recipes themselves.
    widths = {run.name: run.recipe().model.width for run in list_runs(tmp_path / "runs")}
    assert {name: width for name, width in widths.items() if width == 8} == dict.fromkeys(
        (run["name"] for run in value["study"]["runs"]), 8
    )
    assert value["proxy"] == "half as wide" and len(set(widths.values())) == 2
    first, second, third, above, between = value["predictions"]
    # Equal settings are one training; its losses are those of the run.
    assert first["run"] == second["run"] == "told-predicted-1" and third["run"] == "told-on-dropout"
    record = read_record(open_run("told-predicted-1", tmp_path / "runs")[0])
    assert first["measured"] == record.loss and second["measured"] == record.evaluations[-1].train_loss
    assert not first["holds"] and not second["holds"]
    assert (above["foretold"], above["holds"]) == ({"low": 0.1, "high": None}, True)
    assert (between["foretold"], between["holds"]) == ({"low": 0.1, "high": 0.2}, False)
    assert above["run"] == between["run"] == "told-predicted-1"
    path = tmp_path / "runs" / "study-told" / "explain.json"
    page = path.with_suffix(".md").read_text()
    assert "| twice the steps halve the loss | validation | 0.1 |" in page
    assert f"| and train to almost nothing | training | 0.1 to 0.2 | {record.evaluations[-1].train_loss:.4f} |" in page
    assert "| twice the steps stay above nothing | validation | at least 0.1 |" in page and "| +0.0000 | yes |" in page
    assert main(["verify", str(path)]) == 0
    _check_regimes(value, page, tmp_path / "runs")
    _check_residual(value, page)
    for entry, changed in ((value["predictions"][3], "holds"), (value["regimes"][1]["bridging"], "gap")):
        kept, entry[changed] = entry[changed], 0
        path.write_text(json.dumps(value))
        assert main(["verify", str(path)]) == 1
        entry[changed] = kept
    # A file from before there were ranges, regimes and the residual's interval.
    older = {name: part for name, part in value.items() if name not in ("regimes", "residual_interval")}
    path.write_text(json.dumps({**older, "predictions": value["predictions"][:3]}))
    capsys.readouterr()
    assert main(["verify", str(path)]) == 0
    text = case.read_text()
    for old, new, words in (
        ("continued = true\n", "", "set continued = true"),
        ('says = "twice the steps halve the loss"', "", "says can't be"),
        ("[reported]", "[told]", "unknown entry 'told'"),
        ("value = 0.1", 'value = "low"', "value can't be low"),
        ("value = 0.1", 'value = "2..1"', "value can't be 2..1"),
        ("value = 0.1", 'value = ".."', "or a range: 1.5..1.8"),
        ("value = 0.1", 'value = "0..nan"', "value can't be 0..nan"),
        ("valid = 2.5, ", "", "losses of the second have no valid"),
    ):
        case.write_text(text.replace(old, new, 1))
        with pytest.raises(LabError, match=words):
            load_case(str(case))


def _check_regimes(value, page, runs):
    """Of the case above: both endpoints' interpolating runs beside the full trainings."""
    first, second = value["regimes"]
    of_end = [run["name"] for run in value["study"]["runs"] if run["cell"] == "baseline"]
    records = [read_record(open_run(name, runs)[0]) for name in of_end]
    valid, train = (statistics.fmean(losses) for losses in zip(*_last_losses(records), strict=True))
    assert first["bridging"]["valid_loss"] == pytest.approx(valid)
    assert first["bridging"]["gap"] == pytest.approx(valid - train)
    assert first["bridging"]["runs"] == [record.id for record in records] and len(records) == 2
    # The first was trained whole, to be continued; of the second there is what was reported.
    assert first["whole"]["valid_loss"] == value["continued"]["parent"]["loss"]
    assert second["whole"] == {
        "valid_loss": 2.5, "train_loss": 1.0, "gap": 1.5, "rise": 0.5, "courses": {"risen": 1}, "runs": [],
    }  # fmt: skip
    assert "the full training was reported to end at validation 2.5000, training 1.0000 (gap +1.5000), " in page
    assert "validation has turned up (0.5000 above its lowest)" in page


def _last_losses(records):
    return [(record.loss, record.evaluations[-1].train_loss) for record in records]


def _check_residual(value, page):
    """It stands in the table of the shares, and below it the difference that was reported."""
    interval = value["residual_interval"]
    assert interval["low"] < value["residual"] < interval["high"]
    shares = page.index("| share of the difference (Shapley value) |")
    assert page.index("| left unexplained | residual of the interpolating runs | ") > shares
    assert "| reported difference | 3.0000 to 2.5000 | -0.5000 |" in page
    stack = next(effect for effect in value["study"]["effects"] if effect["kind"] == "stack")
    # By Welch's formula for single runs: the default SD is .42% of a loss, known with 3 degrees of freedom.
    own = scipy.stats.t.ppf(0.975, 3) * 0.0155 / 3.69 * 2.75 * math.sqrt(2)
    assert (interval["high"] - interval["low"]) / 2 == pytest.approx(
        math.hypot(stack["high"] - stack["difference"], own)
    )


def test_the_residual_of_two_runs_scatters_as_two_runs_do_around_means_of_their_seeds():
    rng, deviation, counts = np.random.default_rng(1), 0.3, (2, 5)
    sides = [rng.normal(0, deviation, (40_000, count)) for count in counts]
    left = (sides[1][:, 0] - sides[0][:, 0]) - (sides[1].mean(axis=1) - sides[0].mean(axis=1))
    bridged = {"difference": 0.25, "low": 0.0, "high": 0.5}
    found = residual_of_runs((2.0, 2.5), bridged, {"standard_deviation": deviation, "freedom": math.inf}, counts)
    assert found.value == pytest.approx(0.25)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * left.std(), rel=0.02)
    one = residual_of_runs((2.0, 2.25), bridged, {"standard_deviation": deviation, "freedom": 3.0}, (1, 1))
    assert one.nothing and one.low == one.high == 0.0 and one.kind == "indistinguishable"


@pytest.mark.parametrize(
    ("losses", "train", "course"),
    [
        ([4.0, 3.0, 2.5, 2.2, 2.0, 1.85, 1.7], [4.0, 3.0, 2.5, 2.2, 2.0, 1.85, 1.7], "falling"),
        ([4.0, 2.0, 1.5, 1.6, 1.7, 1.8, 1.9], [4.0, 2.0, 1.4, 1.2, 1.0, 0.8, 0.6], "risen"),
        ([4.0, 2.0, 1.5, 1.5001, 1.4999, 1.5, 1.5], [4.0, 2.0, 1.5, 1.5, 1.5, 1.5, 1.5], "level"),
        ([4.0, 3.0], [4.0, 3.0], "unknown"),
    ],
)
def test_a_training_ends_falling_level_or_risen(tmp_path, two_runs, losses, train, course):
    run = open_run("a", two_runs)[0]
    lines = [
        {"format": 1, "kind": "evaluation", "step": 10 * place, "tokens": 640 * place, "segment": 1,
         "valid_loss": one, "train_loss": other}
        for place, (one, other) in enumerate(zip(losses, train, strict=True))
    ]  # fmt: skip
    (run.folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (run.folder / "units-valid.npy").unlink()
    summary = run.summary()
    (run.folder / "summary.json").write_text(
        json.dumps({**summary, "verdict": None, "final": {**summary["final"], "loss": losses[-1]}})
    )
    found = ending_of([read_record(open_run("a", two_runs)[0])])
    assert found.course == course
    assert (found.valid, found.train, found.rise) == (losses[-1], train[-1], pytest.approx(losses[-1] - min(losses)))


def test_shorter_trainings_are_told_beside_the_whole_ones_up_to_the_same_checkpoint(two_runs, monkeypatch, capsys):
    monkeypatch.setattr(
        "lmlab.study.explain.explaining.choose_interpolation",
        lambda *words: Interpolation(pairs=0, share=0.5, seconds=1.0),
    )
    assert main(["explain", "a@8", "b", "--seeds", "1", "--runs", str(two_runs), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    first, second = value["regimes"]
    a, b = (read_record(open_run(name, two_runs)[0]) for name in "ab")
    at = next(entry for entry in a.evaluations if entry.step == 8)
    assert (first["checkpoint"], first["whole"]["valid_loss"], first["whole"]["train_loss"]) == (
        8,
        at.valid_loss,
        at.train_loss,
    )
    assert (second["whole"]["valid_loss"], second["whole"]["runs"]) == (b.loss, [b.id]) and "checkpoint" not in second
    page = (two_runs / "study-a-8-to-b" / "explain.md").read_text()
    assert f"the shorter training ends at validation {second['bridging']['valid_loss']:.4f}" in page
    assert "| difference of the two runs | " in page
    assert main(["verify", str(two_runs / "study-a-8-to-b" / "explain.json")]) == 0


def test_regimes_that_differ_are_said_to():
    falling = RegimeEnding(valid=2.46, train=2.04, rise=0.0, courses={"falling": 2}, runs=("x", "y"))
    risen = reported_ending(Reported(valid=1.7, train=0.62, best=1.4697))
    assert risen.course == "risen" and reported_ending(None) is None
    # Without the lowest loss nobody knows; nor where the lowest is as low as the last.
    assert (
        reported_ending(Reported(valid=1.7)).course
        == reported_ending(Reported(valid=1.7, best=1.69)).course
        == "unknown"
    )
    regime = Regime(name="b", interpolating=falling, whole=risen)
    assert regime.differs and regime.line("scale model").endswith("so the shares are those of the scale model")
    assert not Regime(name="b", interpolating=falling, whole=None).differs
    mixed = dataclasses.replace(falling, courses={"falling": 1, "risen": 1})
    assert mixed.course_words() == "validation still falls in 1, has turned up in 1 of 2 runs"


def test_all_that_was_predicted_of_laptop_and_gpu_is_listed_with_the_loss_it_is_of():
    found = {
        (said.metric, said.settings.get("train.steps"), said.value): holds(said.value, measured)
        for said in load_case("laptop-and-gpu").predictions
        # What the shipped trainings came to, and 1.0 for the loss that stands in none of its files.
        for measured in [
            {("train_loss", 5000): 1.4719, ("valid_loss", 5000): 1.6768, ("valid_loss", None): 1.6857,
             ("valid_loss", 10000): 1.5671, ("train_loss", 10000): 1.0}[said.metric, said.settings.get("train.steps")]
        ]
    }  # fmt: skip
    assert found == {
        ("train_loss", 5000, 1.4): False, ("train_loss", 5000, Range(low=1.0, high=1.5)): True,
        ("valid_loss", 5000, 1.6): False, ("valid_loss", 5000, Range(low=1.5, high=1.8)): True,
        ("valid_loss", 5000, Range(low=1.7, high=None)): False, ("valid_loss", None, 1.0): False,
        ("train_loss", 10000, Range(low=None, high=1.0)): True, ("valid_loss", 10000, 1.3): False,
    }  # fmt: skip


def test_devices_are_a_factor_only_where_both_are_here(monkeypatch):
    endpoints = tuple(
        Endpoint(
            name="x", identity="", recipe=override(Recipe(), {"train.device": device}), steps=10, precision="fp32",
            vocabulary=65, loss=None,
        )
        for device in ("cpu", "cuda")
    )  # fmt: skip
    here = {"cpu", "cuda"}

    def choose(name):
        if name not in here:
            raise LabError("not here")

    monkeypatch.setattr("lmlab.study.explain.endpoints.choose_device", choose)
    devices = common_devices(endpoints)
    assert devices == ("cpu", "cuda") and unmeasured(endpoints, devices) == ()
    recipes = [end.whole(device) for end, device in zip(endpoints, devices, strict=True)]
    assert [factor.name for factor in factors_between(*recipes)] == ["device"]
    here.discard("cuda")
    assert common_devices(endpoints) == ("auto", "auto")
    assert unmeasured(endpoints, ("auto", "auto")) == ("hardware (cpu against cuda), unmeasured here",)


def test_every_shipped_case_can_be_read_and_its_recipes_with_their_settings_too():
    assert case_names()
    for name in case_names():
        case = load_case(name)
        assert case.name == name and case.about
        for target, settings in ((case.first, case.first_settings), (case.second, case.second_settings)):
            override(load_recipe(target), settings)
        for prediction in case.predictions:
            override(load_recipe(case.first), prediction.settings)


def test_runs_that_differ_in_nothing_or_on_other_text_are_refused(two_runs, tmp_path):
    with pytest.raises(LabError, match="differ only in the seed"):
        explain("a", "a", two_runs, say=lambda line: None)
    other = tmp_path / "other.txt"
    other.write_text("abcdefghij klmnop\n" * 300)
    recipe = override(Recipe(), {**SMALL, "data.corpus": str(other)})
    train(recipe, run="c", runs=two_runs, display=Quiet(), say=lambda line: None)
    with pytest.raises(LabError, match="lmlab compare --on"):
        explain("a", "c", two_runs, say=lambda line: None)
    with pytest.raises(LabError, match="add a second run, or name one of"):
        explain("a", "", two_runs, say=lambda line: None)
