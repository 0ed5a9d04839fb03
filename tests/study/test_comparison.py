"""Runs held against each other: what differs, what is read off curves, and when a difference counts."""

import json
import math

import numpy as np
import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.exchange import import_log
from lmlab.experiment.at_checkpoint import record_at
from lmlab.experiment.parent import parent_of
from lmlab.experiment.reading import read_record
from lmlab.experiment.scoring import evaluate
from lmlab.experiment.start import train
from lmlab.files.durable import without_nan
from lmlab.recipe import Recipe, override
from lmlab.report.comparison_table import comparison_parts
from lmlab.runs import Run
from lmlab.runs.tags import change_tags
from lmlab.runs.task_results import ROW, write_task_result
from lmlab.study.compare.comparing import compare
from lmlab.study.compare.comparison import Asked
from lmlab.study.compare.curves import curve_of
from lmlab.study.compare.differences import what_differs
from lmlab.study.compare.ratios import ratio_table
from lmlab.study.scores import TextScores, common_scale
from lmlab.study.verify.verification import verify
from lmlab.training.display import Quiet
from tests.study.finished import BATCH_TOKENS, finished_run
from tests.study.test_studying import SMALL


def test_what_differs_is_named_with_its_values_and_the_rest_is_counted(tmp_path):
    one = read_record(finished_run(tmp_path, "one", 1.8))
    changed = {"model.dropout": "0.2", "train.threads": "2"}
    two = read_record(finished_run(tmp_path, "two", 1.8, settings=changed, data_id="f" * 16))
    three = read_record(finished_run(tmp_path, "three", 1.8, settings={"optim.kind": "muon", "optim.lr": "0.02"}))
    found = what_differs([one, two])
    assert {(entry.group, entry.name): entry.values for entry in found.found} == {
        ("recipe", "model.dropout"): (0.0, 0.2),
        ("data", "data set"): (one.data_id, "f" * 16),
    }
    assert found.same["recipe"] > 40 and found.same["versions"] == 5
    names = {entry.name: entry.values for entry in what_differs([one, two, three]).found}
    assert names["optim.kind"] == ("adamw", "adamw", "muon") and names["model.dropout"] == (0.0, 0.2, 0.0)
    assert names["optim.adam_lr"][:2] == (None, None)
    assert not what_differs([one, read_record(one.run)]).found


def test_losses_between_two_evaluations_lie_on_the_curve_and_none_beyond_its_ends(tmp_path):
    record = read_record(finished_run(tmp_path, "one", 1.8))
    curve = curve_of(record, "one", [entry.valid_loss for entry in record.evaluations])
    for step in (250, 300, 617, 1000):  # the runs of these tests fall as a power, which log-log lines are
        assert curve.loss_at("steps", step) == pytest.approx(1.8 * (1000 / step) ** 0.1, rel=1e-12)
        assert curve.loss_at("tokens", step * BATCH_TOKENS) == pytest.approx(curve.loss_at("steps", step))
        assert curve.loss_at("FLOPs", record.training_flops * step / 1000) == pytest.approx(
            curve.loss_at("steps", step)
        )
    assert curve.loss_at("steps", 249) is None and curve.loss_at("steps", 1001) is None
    assert curve.loss_at("joules", 10) is None
    reached = curve.reached(1.8 * (1000 / 617) ** 0.1)
    assert reached.spent["steps"] == pytest.approx(617) and not reached.at_most
    assert reached.spent["seconds"] == pytest.approx(617 * BATCH_TOKENS / 50_000)
    assert curve.reached(1.0) is None
    assert curve.reached(2.3).at_most and curve.reached(2.3).spent["steps"] == 250


def test_equal_budgets_end_where_the_shortest_run_does(tmp_path):
    finished_run(tmp_path, "short", 1.9, settings={"schedule.kind": "constant"}, joules=100.0)
    settings = {"model.layers": "8", "schedule.kind": "constant"}
    finished_run(tmp_path, "long", 1.7, steps=2000, settings=settings, joules=400.0)
    found = compare(["short", "long"], tmp_path, Asked(reach=(1.75,)))
    budgets = {entry.axis: entry for entry in found.equal}
    assert budgets["steps"].spent == 1000 and budgets["joules"].spent == 100.0
    assert budgets["tokens"].losses == pytest.approx((1.9, 1.7 * 2**0.1))
    assert budgets["FLOPs"].losses[1] > budgets["tokens"].losses[1]  # an eight-layer step costs nearly twice as much
    assert budgets["joules"].losses[1] == pytest.approx(1.7 * 4**0.1)
    assert [target.loss for target in found.targets] == [1.9, 1.75]
    assert found.targets[1].reached[0] is None and found.targets[1].reached[1].spent["steps"] < 2000
    assert not [line for line in found.warnings if "joules" in line or "unfair" in line]


def test_a_rate_that_is_still_up_makes_a_place_in_the_middle_unfair(tmp_path):
    finished_run(tmp_path, "short", 1.9)
    finished_run(tmp_path, "long", 1.7, steps=2000)
    lines = [line for line in compare(["short", "long"], tmp_path, Asked()).warnings if "unfair" in line]
    assert len(lines) == 1 and "long's learning rate is still at" in lines[0] and "tokens" in lines[0]


def test_curves_of_samples_are_compared_on_the_units_that_both_scored(tmp_path):
    finished_run(tmp_path, "one", 1.8, sampled=20)
    finished_run(tmp_path, "two", 1.7, settings={"model.dropout": "0.1"}, sampled=30)
    found = compare(["one", "two"], tmp_path, Asked())
    assert "20 of 60 units" in found.scored
    apart = found.curves[0].losses[-1] - found.curves[1].losses[-1]
    assert apart == pytest.approx(0.1, abs=0.03)


def _folder(root, losses, changed):
    for seed, loss in enumerate(losses, start=1):
        finished_run(root, f"base-{seed}", loss, seed=seed)
    for seed, loss in enumerate(changed, start=1):
        finished_run(root, f"dropout-{seed}", loss, seed=seed, settings={"model.dropout": "0.1"})


def test_all_seeds_in_the_folder_stand_on_their_side_and_tell_the_noise(tmp_path):
    base, changed = [1.80, 1.81, 1.79, 1.80], [1.75, 1.76, 1.74]
    _folder(tmp_path, base, changed)
    pair = compare(["base-2", "dropout-1"], tmp_path, Asked()).pairs[0]
    assert pair.seeds == (4, 3) and pair.losses == pytest.approx((1.80, 1.75))
    assert pair.noise.seeds.source == "measured" and (pair.noise.seeds.seeds, pair.noise.seeds.families) == (7, 2)
    assert pair.noise.seeds.standard_deviation == pytest.approx(math.sqrt((2 * 0.01**2 + 2 * 0.01**2) / 5))
    assert pair.verdict.kind == "worse" and pair.verdict.low > 0
    single = compare(["base-2", "dropout-1"], tmp_path, Asked(alone=True)).pairs[0]
    assert single.seeds == (1, 1) and single.losses == pytest.approx((1.81, 1.75))
    assert single.noise.to_json() == pair.noise.to_json() and single.verdict.high > pair.verdict.high


def _copied_bits(run, of):
    """Give a finished run the final scores of another, unit by unit."""
    bits = of.units()["bits"]
    run.truncate_units(bits.shape[1] - 1)
    run.append_units(bits.shape[1] - 1, bits[:, -1])


def test_a_repeat_of_a_run_is_no_second_seed_and_is_named(tmp_path):
    first = finished_run(tmp_path, "base-1", 1.80)
    again = finished_run(tmp_path, "base-1-again", 1.80)
    # Evaluated at other steps it is another recipe, and the same model.
    seldom = finished_run(tmp_path, "base-1-seldom", 1.80, settings={"evaluate.every": "500"}, every=500)
    _copied_bits(again, first)
    units = first.units()["bits"][:, -1]
    seldom.truncate_units(3)
    seldom.append_units(3, units)
    finished_run(tmp_path, "dropout-1", 1.75, settings={"model.dropout": "0.1"})
    for name in ("base-1", "base-1-again", "base-1-seldom"):
        found = compare([name, "dropout-1"], tmp_path, Asked())
        assert found.pairs[0].seeds == (1, 1)
        assert found.pairs[0].noise.seeds.source == "default" and found.pairs[0].noise.seeds.standard_deviation > 0
    notes = "\n".join(compare(["base-1-again", "dropout-1"], tmp_path, Asked()).warnings)
    assert "base-1 repeats base-1-again: their models give identical losses on every unit" in notes
    twice = compare(["base-1", "base-1-again"], tmp_path, Asked())
    assert twice.pairs[0].verdict is None and "one training, run twice" in twice.pairs[0].withheld
    assert twice.bands[0] is None


def test_a_seed_that_was_computed_twice_with_other_rounding_is_one_seed(tmp_path):
    _folder(tmp_path, [1.80, 1.81], [1.75])
    finished_run(tmp_path, "base-2-bf16", 1.8101, seed=2, settings={"train.precision": "bf16"})
    found = compare(["base-2-bf16", "dropout-1"], tmp_path, Asked())
    assert found.pairs[0].seeds == (2, 1) and found.pairs[0].noise.seeds.seeds == 2
    assert "base-2 repeats base-2-bf16: the same recipe, data and seed (2)" in "\n".join(found.warnings)


def test_seeds_of_one_recipe_are_compared_one_by_one(tmp_path):
    _folder(tmp_path, [1.80, 1.81, 1.79], [])
    found = compare(["base-1", "base-2", "base-3"], tmp_path, Asked())
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        ("base-1", "base-2"), ("base-1", "base-3"), ("base-2", "base-3"),
    ]  # fmt: skip
    assert {pair.verdict.kind for pair in found.pairs} == {"indistinguishable"}
    assert found.bands[0].seeds == 3 and found.bands[1] is None
    assert found.differences.found[0].name == "train.seed"


def test_several_named_seeds_of_two_recipes_make_one_pair(tmp_path):
    _folder(tmp_path, [1.80, 1.81], [1.75, 1.76])
    found = compare(["base-1", "dropout-1", "base-2", "dropout-2"], tmp_path, Asked())
    assert [(pair.first, pair.second, pair.seeds) for pair in found.pairs] == [("base-1", "dropout-1", (2, 2))]


def test_without_seeds_the_noise_is_a_default_that_says_so(tmp_path):
    finished_run(tmp_path, "one", 1.800, apart=0.002)
    finished_run(tmp_path, "two", 1.795, settings={"model.dropout": "0.1"}, apart=0.002)
    pair = compare(["one", "two"], tmp_path, Asked()).pairs[0]
    assert pair.noise.seeds.source == "default" and "by default" in pair.verdict.reason
    assert pair.verdict.kind == "indistinguishable" and pair.verdict.seeds_needed > 2
    assert pair.bits_per_byte.difference == pytest.approx(0.005 / math.log(2), abs=1e-3)


def test_the_paired_error_is_that_of_what_the_two_runs_do_not_share(tmp_path):
    finished_run(tmp_path, "one", 1.8)
    finished_run(tmp_path, "two", 1.8, settings={"model.dropout": "0.2"})
    pair = compare(["one", "two"], tmp_path, Asked()).pairs[0]
    assert pair.paired.units == 60
    assert pair.paired.standard_error == pytest.approx(
        0.02 * math.sqrt(2 / 60), rel=0.35
    )  # and not .3 sqrt(2/60) = .055


def test_other_texts_give_no_verdict_but_a_table_and_a_sample_each(tmp_path):
    finished_run(tmp_path, "one", 1.8)
    finished_run(tmp_path, "two", 1.2, text="b", data_id="f" * 16)
    found = compare(["one", "two"], tmp_path, Asked())
    assert found.scale is None and not found.curves and len(found.samples) == 2
    pair = found.pairs[0]
    assert pair.verdict is None and "--on TEXT" in pair.withheld
    rows = {row.name: row for row in found.ratios}
    assert rows["validation loss, nats a token"].ratio(1) is None and rows["parameters"].ratio(1) == 1.0
    assert pair.to_json()["verdict"] is None


def test_other_data_with_the_same_validation_text_can_be_compared(tmp_path):
    finished_run(tmp_path, "one", 1.8)
    finished_run(tmp_path, "less", 1.9, data_id="f" * 16)
    finished_run(tmp_path, "words", 5.4, data_id="e" * 16, tokenizer="bpe", token_bytes=3)
    assert compare(["one", "less"], tmp_path, Asked()).pairs[0].scale == "nats a token"
    pair = compare(["one", "words"], tmp_path, Asked()).pairs[0]
    assert pair.scale == "bits per byte"
    assert pair.verdict.difference == pytest.approx(0.0, abs=1e-9)  # 5.4 nats for three bytes


def test_a_run_that_is_not_finished_gets_no_verdict(tmp_path):
    finished_run(tmp_path, "one", 1.8)
    finished_run(tmp_path, "two", 1.7, settings={"model.dropout": "0.1"}, finished=False)
    found = compare(["one", "two"], tmp_path, Asked())
    assert found.pairs[0].verdict is None and "two is not finished" in found.pairs[0].withheld
    assert any("two is not finished" in line for line in found.warnings) and found.equal


def test_a_branch_and_a_broken_neighbour_are_told_of(tmp_path):
    finished_run(tmp_path, "one", 1.8)
    parent = {"id": "a" * 32, "name": "old", "step": 7, "recipe_hash": "", "weights_sha256": ""}
    finished_run(tmp_path, "two", 1.7, parent=parent)
    (finished_run(tmp_path, "broken", 1.7).folder / "recipe.toml").write_text("[", encoding="utf-8")
    said = []
    found = compare(["one", "two"], tmp_path, Asked(), say=said.append)
    assert any("two continues old@7" in line for line in found.warnings)
    assert len(said) == 1 and "broken" in said[0]
    assert found.pairs[0].seeds == (1, 1)


def rows_of(found):
    return {row.name: row.values for row in found.ratios}


def test_times_of_steps_and_epochs_are_those_of_training_alone(tmp_path):
    finished_run(tmp_path, "one", 1.8)
    finished_run(tmp_path, "two", 1.7, settings={"model.dropout": "0.1"})
    found = compare(["one", "two"], tmp_path, Asked())
    rows = rows_of(found)
    assert rows["milliseconds a training step"][0] == pytest.approx(1000 * BATCH_TOKENS / 50_000)
    assert rows["training seconds an epoch"][0] == pytest.approx(1_000_000 / 50_000)
    assert rows["epochs (passes over the text)"][0] == pytest.approx(1000 * BATCH_TOKENS / 1_000_000)
    assert rows["perplexity"] == pytest.approx((math.exp(1.8), math.exp(1.7)))
    assert not [name for name in rows if "lineage" in name]


@pytest.fixture
def family(tiny_text_file, tmp_path):
    """A run of 12 steps of 64 tokens, and two that continue it for 8: one in its stream, and one with half the batch in its own."""
    recipe = override(Recipe(), {**SMALL, "data.corpus": str(tiny_text_file), "train.keep_finished": "all"})
    quiet = {"runs": tmp_path, "display": Quiet(), "say": lambda line: None}
    train(recipe, run="root", **quiet)
    point = parent_of("root@latest", tmp_path)
    for name, settings in (("on", {"train.steps": "20"}), ("apart", {"train.steps": "8", "train.batch": "2"})):
        train(override(recipe, settings), run=name, parent=point, **quiet)
    return tmp_path


def test_a_branch_has_its_own_steps_and_tokens_beside_its_own_time_and_its_lineages_are_named(family):
    found = compare(["root", "on", "apart"], family, Asked())
    rows = rows_of(found)
    assert rows["steps"] == (12, 8, 8) and rows["steps, lineage included"] == (12, 20, 20)
    assert rows["tokens processed"] == (768, 512, 256)
    assert rows["tokens processed, lineage included"] == (768, 1280, 1024)
    own, whole = rows["training FLOPs"], rows["training FLOPs, lineage included"]
    assert whole[1] / own[1] == pytest.approx(1280 / 512) and own[0] == whole[0]
    on = found.records[1]
    assert rows["milliseconds a training step"][1] == pytest.approx(1000 * 64 / on.tokens_per_second)
    notes = "\n".join(found.warnings)
    assert "on continues root@12: at equal steps, tokens and FLOPs its lineage's count too" in notes
    assert "apart continues root@12: in a stream of its own" in notes


def test_a_checkpoint_is_compared_by_its_own_model_and_curve(family):
    found = compare(["root@8", "root", "on@best"], family, Asked())
    at, whole, on = found.records
    assert found.names[:2] == ("root@8", "root") and (at.step, at.tokens, at.evaluations[-1].step) == (8, 512, 8)
    assert at.loss == pytest.approx(evaluate("root@8", runs=family)["loss"], rel=1e-6) and at.loss != whole.loss
    assert at.family != whole.family and at.id == whole.id
    assert rows_of(found)["steps"][:2] == (8, 12) and [len(curve.losses) for curve in found.curves[:2]] == [3, 4]
    pair = found.pairs[0]
    assert pair.losses == pytest.approx((at.loss, whole.loss)) and pair.paired.units > 0
    # The last checkpoint of a finished run is the run; where no evaluation scored the whole split, the model is scored.
    assert record_at(whole.run, "latest") == read_record(whole.run)
    assert on.loss is not None
    path = family / "comparison.json"
    path.write_text(json.dumps(without_nan(found.to_json())))
    assert verify(path, family).holds


def test_a_checkpoint_whose_whole_split_was_scored_needs_no_weights(tmp_path):
    run = finished_run(tmp_path, "one", 1.8)
    record = record_at(run, "500")
    assert record.loss == record.evaluations[-1].valid_loss == pytest.approx(1.8 * 2**0.1)
    assert record.train_seconds == pytest.approx(500 * BATCH_TOKENS / 50_000)
    sampled = finished_run(tmp_path, "two", 1.8, sampled=9)
    for reference, words in (("300", "checkpoints are gone"), ("2000", "has no step 2,000"), ("best", "checkpoint")):
        with pytest.raises(LabError, match=words):
            record_at(sampled, reference)


def test_a_tag_names_its_runs(tmp_path):
    for name, loss in (("one", 1.8), ("two", 1.7), ("three", 1.6)):
        run = finished_run(tmp_path, name, loss, settings={"model.dropout": f"{loss - 1.6:.1f}"})
        if name != "two":
            change_tags(run.folder, ["night"])
    assert compare(["tag:night"], tmp_path, Asked()).names == ("one", "three")
    assert compare(["two", "tag:night"], tmp_path, Asked()).names == ("two", "one", "three")


def _imported(tmp_path, name, text, **given):
    path = tmp_path / f"{name}.log"
    path.write_text(text)
    import_log(path, tmp_path, **given)


def test_logs_are_compared_by_what_they_say(tmp_path):
    lines = [f"s:{step} tel:{4 - step / 5000:.4f}" for step in range(0, 4200, 100)]
    _imported(tmp_path, "one", "\n".join(lines), step_tokens=1024, parameters=124_000_000)
    _imported(tmp_path, "two", "\n".join(lines[:30]))
    finished_run(tmp_path, "ours", 1.8)
    found = compare(["one", "two", "ours"], tmp_path, Asked())
    rows = rows_of(found)
    assert rows["steps"] == (4100, 2900, 1000) and rows["parameters"][:2] == (124_000_000, None)
    assert rows["tokens processed"][:2] == (4100 * 1024, None)
    assert rows["perplexity"][0] == pytest.approx(math.exp(3.18))
    # 42 evaluations are no fewer than two.
    assert "fewer than two" not in found.trends[0].reason
    differing = {(entry.group, entry.name) for entry in found.differences.found}
    assert ("log", "step_tokens") in differing and not {group for group, _ in differing} - {"log"}
    assert found.samples[:2] == ("", "")
    withheld = {(pair.first, pair.second): pair.withheld for pair in found.pairs}
    assert "--corpus NAME" in withheld["one", "two"] and "--on" not in "".join(withheld.values())
    assert "one is a log without a model" in withheld["one", "ours"]
    assert any("one is someone else's log (llmc)" in line for line in found.warnings)


def test_logs_of_one_text_are_compared_at_equal_budgets_and_epochs_are_no_steps(tmp_path):
    text = "".join(
        f"Epoch {number}: train loss {5 - number} val loss {5.5 - number} acc 30% | 20s\n" for number in (1, 2, 3)
    )
    for name in ("one", "two"):
        _imported(tmp_path, name, text, corpus="a text")
    _imported(tmp_path, "three", "s:0 tel:4\ns:9 tel:3\n", corpus="a text")
    found = compare(["one", "two"], tmp_path, Asked())
    rows = rows_of(found)
    assert "steps" not in rows and rows["epochs (passes over the text)"] == (3.0, 3.0)
    assert rows["training seconds an epoch"] == (20.0, 20.0) and rows["accuracy"] == (0.3, 0.3)
    assert [entry.axis for entry in found.equal] == ["steps", "seconds"]
    assert "equal budgets" in found.pairs[0].withheld
    printed = "\n".join(str(part) for part in comparison_parts(found))
    assert "3 epochs" in printed and "3 steps" not in printed
    assert compare(["one", "three"], tmp_path, Asked()).equal == ()


def test_runs_of_one_name_in_two_folders_keep_apart(tmp_path):
    finished_run(tmp_path / "here", "one", 1.8)
    finished_run(tmp_path / "there", "one", 1.7, settings={"model.dropout": "0.1"})
    found = compare([str(tmp_path / "here" / "one"), str(tmp_path / "there" / "one")], tmp_path, Asked())
    assert found.names == ("here/one", "there/one")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["one"], "2 to 8 runs"),
        (["one", "one"], "twice"),
        (["one", "two@best"], "its checkpoints are gone"),
        (["one", "tow"], "two"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(tmp_path, names, words):
    finished_run(tmp_path, "one", 1.8)
    finished_run(tmp_path, "two", 1.7)
    with pytest.raises(LabError, match=words):
        compare(names, tmp_path, Asked())


@pytest.mark.parametrize("windows, scale", [(None, None), ((63, 63), None), ((63, 32), "nats a token")])
def test_other_windows_of_documents_are_other_tokens(windows, scale):
    plain = {"loss": 1.0, "bits_per_byte": None, "units": None, "tokenizer": None, "text": "a" * 16}
    one = TextScores(run="1", windows=(63, 32), **plain)
    assert common_scale([one, TextScores(run="2", windows=windows, **plain)]) == scale


@pytest.fixture
def other_tokenizers(tiny_text_file, tmp_path):
    """Runs of characters and of bytes, trained on one text."""
    for name, tokenizer in (("characters", "characters"), ("bytes", "bytes")):
        recipe = override(
            Recipe(), {**SMALL, "data.corpus": str(tiny_text_file), "data.tokenizer": tokenizer, "train.steps": "6"}
        )
        train(recipe, run=name, runs=tmp_path, display=Quiet(), say=lambda line: None)
    return tmp_path


def test_on_a_text_runs_of_different_tokenizers_are_judged_by_its_bytes(other_tokenizers, tiny_text_file, tmp_path):
    text = tmp_path / "other.txt"
    text.write_text(tiny_text_file.read_text()[::-1])
    own = compare(["characters", "bytes"], other_tokenizers, Asked())
    assert own.scale == "bits per byte" and own.pairs[0].verdict is not None
    (pair,) = compare(["characters", "bytes"], other_tokenizers, Asked(on=str(text))).pairs
    assert pair.scale == "bits per byte" and pair.noise.seeds.source == "default"
    scores = [
        evaluate(name, runs=other_tokenizers, on=str(text))["bits_per_byte"]
        for name in ("characters@latest", "bytes@latest")
    ]
    assert pair.losses == pytest.approx(scores, rel=1e-9)
    assert pair.losses != pytest.approx([record.bits_per_byte for record in own.records], rel=1e-3)
    assert pair.verdict.difference == pytest.approx(scores[0] - scores[1])


def test_what_a_comparison_printed_can_be_verified(tmp_path, capsys):
    for seed in (1, 2, 3):
        finished_run(tmp_path, f"a{seed}", 1.8 + seed / 100, seed=seed)
        finished_run(tmp_path, f"b{seed}", 1.7 + seed / 100, seed=seed, settings={"model.dropout": "0.2"})
    assert main(["compare", "a1", "b1", "--reach", "1.9", "--runs", str(tmp_path), "--json"]) == 0
    file = tmp_path / "said.json"
    file.write_text(capsys.readouterr().out)
    # Runs that came later, and other names, change nothing of what was said.
    finished_run(tmp_path, "a4", 2.9, seed=4)
    (tmp_path / "a1").rename(tmp_path / "renamed")
    assert main(["verify", str(file), "--runs", str(tmp_path)]) == 0
    assert "figures hold" in capsys.readouterr().out
    value = json.loads(file.read_text())
    value["pairs"][0]["difference"] *= 1.01
    file.write_text(json.dumps(value))
    assert main(["verify", str(file), "--runs", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("pairs[0].difference: ")
    (tmp_path / "b2").rename(tmp_path.parent / "away")
    assert main(["verify", str(file), "--runs", str(tmp_path)]) == 1
    assert "is not in" in capsys.readouterr().out


def test_what_a_comparison_says_of_tasks_is_recomputed_from_the_outcomes(tmp_path, capsys):
    outcomes = {"a1": "1" * 40 + "0" * 20, "b1": "10" * 30}
    for name in outcomes:
        finished_run(tmp_path, name, 1.8)

    def store(name, text):
        rows = np.zeros(2 * len(text), ROW)
        rows["item"], rows["option"] = np.divmod(np.arange(len(rows)), 2)
        value = {
            "data_sha256": "0" * 64,
            "style": "completion",
            "selected": None,
            "clusters": None,
            "standing": "above",
        }
        write_task_result(tmp_path / name, "copa", 250, {**value, "outcomes": {"completion": text}}, rows)

    for name, text in outcomes.items():
        store(name, text)
    assert main(["compare", "a1", "b1", "--runs", str(tmp_path), "--json"]) == 0
    file = tmp_path / "said.json"
    file.write_text(capsys.readouterr().out)
    (pair,) = json.loads(file.read_text())["tasks"]
    assert pair["accuracies"] == pytest.approx([40 / 60, 30 / 60])
    (tmp_path / "a1").rename(tmp_path / "renamed")
    assert main(["verify", str(file), "--runs", str(tmp_path)]) == 0
    store("b1", "1" * 60)
    capsys.readouterr()
    assert main(["verify", str(file), "--runs", str(tmp_path)]) == 1
    assert "tasks[0].accuracies[1]: " in capsys.readouterr().out


def test_the_curves_of_runs_that_only_tell_the_noise_are_not_read(tmp_path, monkeypatch):
    _folder(tmp_path, [1.80, 1.81], [1.75])
    for seed in (1, 2):
        finished_run(tmp_path, f"other-{seed}", 1.9 + seed / 100, seed=seed, settings={"model.layers": "8"})
    read = []
    whole = Run.read_lines
    monkeypatch.setattr(Run, "read_lines", lambda run, file: read.append(run.name) or whole(run, file))
    found = compare(["base-1", "dropout-1"], tmp_path, Asked())
    assert found.pairs[0].noise.seeds.families == 2 and found.bands[0].seeds == 2
    assert not [name for name in read if name.startswith("other")]


def test_the_gap_in_the_table_is_that_of_the_verdict(tmp_path):
    runs = [finished_run(tmp_path, name, 1.8) for name in ("one", "two")]
    rows = {row.name: row for row in ratio_table([read_record(run) for run in runs], True, True)}
    before = rows["validation minus training loss"].values
    summary = runs[1].summary()
    runs[1].write("summary.json", {**summary, "final": {**(summary.get("final") or {}), "gap": 0.1354}})
    rows = {row.name: row for row in ratio_table([read_record(run) for run in runs], True, True)}
    assert rows["validation minus training loss"].values == (before[0], 0.1354)
