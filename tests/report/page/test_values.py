"""Each number of a report is the one in the run's files."""

import math
import tomllib

import numpy as np
import pytest

from lmlab import LabError
from lmlab.report.page.charts import MOST_POINTS
from lmlab.report.page.downsample import kept_places
from lmlab.runs import open_runs
from tests.report.page.conftest import lines_of, make_run, page


def chart(found, key):
    return next(one for one in found.charts if one.key == key)


def value_at(value, path):
    for name in path.split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def test_curves_have_the_numbers_of_the_lines(root):
    run = make_run(root)
    found = page(root, "one")
    train = [line for line in lines_of(run, "metrics") if line["kind"] == "train"]
    scored = [line for line in lines_of(run, "metrics") if line["kind"] == "evaluation"]
    for key, place, lines, name in (
        ("loss", 0, train, "loss"),
        ("loss", 1, scored, "train_loss"),
        ("loss", 2, scored, "valid_loss"),
        ("gap", 0, scored, "gap"),
        ("rate", 0, train, "learning_rate"),
        ("norm", 0, train, "gradient_norm"),
        ("throughput", 0, train, "tokens_per_second"),
    ):
        line = chart(found, key).lines[place]
        assert line.values.tolist() == [entry[name] for entry in lines]
        assert line.places.steps.tolist() == [entry["step"] for entry in lines]
        assert line.places.tokens.tolist() == [entry["tokens"] for entry in lines]
        assert line.source.startswith("one/metrics.jsonl: ") and name in line.source


def test_the_seconds_of_a_curve_are_tokens_over_tokens_per_second(root):
    run = make_run(root)
    train = [line for line in lines_of(run, "metrics") if line["kind"] == "train"]
    seconds, expected = 0.0, []
    for before, line in zip([train[0], *train], train, strict=False):
        seconds += (line["tokens"] - before["tokens"]) / line["tokens_per_second"]
        expected.append(seconds)
    assert chart(page(root, "one"), "loss").lines[0].places.seconds == pytest.approx(expected)


def test_every_fact_is_what_its_file_has_under_its_key(root):
    run = make_run(root)
    checked = 0
    for card in page(root, "one").runs[0].cards:
        for fact in card.facts:
            file, _, key = fact.source.removeprefix("one/").partition(": ")
            if " " in key or file == "metrics.jsonl" or key.endswith("_interval"):
                continue
            text = (run.folder / file).read_text(encoding="utf-8")
            value = tomllib.loads(text) if file.endswith(".toml") else run.read(file)
            key = "data.0.train_tokens" if key == "data.train_tokens" else key
            told = value_at(value, key)
            assert fact.value == (f"{told:g}" if key == "optim.lr" else told), fact
            checked += 1
    assert checked > 30


def test_published_and_forecast_values_stand_beside_the_measured_ones(root):
    make_run(root)
    (held,) = page(root, "one").runs[0].held
    assert (held.what, held.unit, held.kind) == ("total time", "s", "forecast")
    assert (held.expected, held.low, held.high, held.measured) == (100.0, 80.0, 125.0, 90.5)
    make_run(root, "going", finished=False)
    (held,) = page(root, "going").runs[0].held
    assert (held.expected, held.measured) == (100.0, None)


def test_seeds_are_one_curve_with_the_mean_and_the_range(root):
    for seed in (1, 2, 3):
        make_run(root, f"a-s{seed}", seed=seed, shift=seed / 10)
    make_run(root, "b", steps=50)
    found = page(root, "a-s1", "a-s2", "a-s3", "b")
    assert found.groups == ("a (3 seeds)", "b")
    valid = [line for line in chart(found, "loss").lines if line.quantity.startswith("validation loss")]
    assert [line.group for line in valid] == [0, 1]
    mean = valid[0]
    alone = [chart(page(root, f"a-s{seed}"), "loss").lines[2].values for seed in (1, 2, 3)]
    assert mean.values == pytest.approx(np.mean(alone, axis=0))
    assert mean.low == pytest.approx(np.min(alone, axis=0)) and mean.high == pytest.approx(np.max(alone, axis=0))


def test_a_run_that_has_not_ended_shortens_no_mean(root):
    for seed in (1, 2):
        make_run(root, f"a-s{seed}", seed=seed)
    make_run(root, "a-s3", seed=3, finished=False)
    assert page(root, "a-s1", "a-s2", "a-s3").groups == ("a (2 seeds)", "a-s3")


def test_several_runs_have_what_differs_between_them(root):
    make_run(root, "a", seed=1)
    make_run(root, "b", seed=1, steps=50)
    compared = page(root, "a", "b").compared
    assert ("train.steps", "40", "50") in compared.differences.rows
    assert page(root, "a").compared is None


def test_events_are_on_the_curve_at_their_step(root):
    make_run(root)
    (mark,) = chart(page(root, "one"), "loss").marks
    assert mark.places.steps.tolist() == [20] and mark.value == pytest.approx(2.0 + 4.0 / 21)
    assert mark.what.startswith("spike: loss 3")


def test_a_checkpoint_ends_the_report_there(root):
    make_run(root)
    found = page(root, "one@12")
    assert max(chart(found, "loss").lines[0].places.steps) == 12
    assert [sample.step for sample in found.runs[0].samples] == [0, 4, 8, 12]
    assert all("final" not in fact.source for card in found.runs[0].cards for fact in card.facts)


def test_a_long_curve_keeps_its_peaks_and_ends():
    values = np.sin(np.arange(10_000) / 50)
    values[4_321], values[7_000] = 99.0, math.nan
    kept = kept_places(values, 300)
    assert len(kept) <= 300 and {0, 4_321, 7_000, 9_999} <= set(kept.tolist())
    assert np.nanmin(values[kept]) == np.nanmin(values)
    assert len(kept_places(np.arange(10_000) % 7.0, 300)) > 290
    for most in (5, 6, 17, 10_000):
        assert len(kept_places(values, most)) <= most
    assert kept_places(np.arange(3.0), 5).tolist() == [0, 1, 2]


def test_all_curves_together_have_no_more_points_than_the_page_may_have(root):
    make_run(root, steps=4_000)
    found = page(root, "one")
    assert sum(len(line.values) for one in found.charts for line in one.lines) <= MOST_POINTS


def test_what_cannot_be_reported_is_refused_in_one_line(root):
    make_run(root)
    with pytest.raises(LabError, match="1 to 16 runs"):
        page(root, *["one"] * 17)
    run = make_run(root, "damaged")
    run.write("summary.json", {"final": {}})
    with pytest.raises(LabError, match="damaged has a damaged"):
        page(root, "damaged")
    assert open_runs(["one"], root)
