"""A bench as lines, as a picture and as a verb."""

import dataclasses
import json
import xml.etree.ElementTree

import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.hardware.cards import card_named
from lmlab.hardware.datasheet import datasheet_peak
from lmlab.planning.benchmark.combinations import Combination
from lmlab.planning.benchmark.result import Bench, BenchRow
from lmlab.planning.trials.child import Measurement
from lmlab.planning.trials.tokenizing import Throughput
from lmlab.recipe import Recipe, override
from lmlab.report.bench_figure import draw_bench, log_ticks, write_bench
from lmlab.report.bench_table import HEADINGS, bench_lines, table_rows
from lmlab.training.policy import choose_policy


@pytest.fixture
def bench():
    """Two batches that ran, one that was out of memory, and another precision."""
    recipe = override(Recipe(), {"train.device": "cpu", "train.engine": "torch", "name": "first"})
    policy = choose_policy(recipe)
    base = Combination(batch=4, policy=policy)
    half = Combination(batch=4, policy=dataclasses.replace(policy, precision="bf16"))
    found = Bench(
        recipe=recipe,
        data_id="0123456789abcdef",
        device="a processor",
        recipe_tokens=10**6,
        sequence_tokens=recipe.model.context,
        flops_per_token=1e6,
        base=base,
    )
    found.rows = [
        BenchRow(combination=base, rounds=[(0.1, 0.11), (0.12, 0.13)], peak_memory_bytes=3 * 10**8, peak_flops=1e11),
        BenchRow(combination=base.of_batch(8), rounds=[(0.2,)], peak_memory_bytes=2 * 10**9, peak_flops=1e11),
        BenchRow(combination=base.of_batch(16), failed="out of memory"),
        BenchRow(combination=half, rounds=[(0.05,)], peak_memory_bytes=10**8),
    ]
    found.left_out = ["tf32: it needs an NVIDIA GPU"]
    found.whole = Measurement(
        micro_batch=4,
        batch=4,
        forward_tokens_per_second=5e4,
        save_seconds=0.5,
        save_wait_seconds=0.1,
        checkpoint_bytes=10**7,
    )
    found.tokenizer = [Throughput(how="batched", processes=1, tokens_per_second=1e6, bytes_per_second=4e6)]
    return found


def test_a_datasheet_that_is_known_has_a_column_of_its_own(bench):
    assert "datasheet" not in "\n".join(map(str, bench_lines(bench)))
    bench.rows[0].datasheet = datasheet_peak(card_named("t4"), "fp32")
    rows = table_rows(bench)
    rate = 4 * bench.recipe.model.context / 0.115
    assert rows[0][8] == f"{rate * 1e6 / 8.1e12:.1%}" and rows[1][8] == rows[2][8] == ""
    assert len({len(row) for row in rows}) == 1
    text = "\n".join(map(str, bench_lines(bench)))
    assert "of datasheet: share of the dense peak in the same precision by NVIDIA T4 datasheet" in text


def test_the_table_has_every_row_and_out_of_memory_as_such(bench):
    rows = table_rows(bench)
    assert all(len(row) == len(HEADINGS) for row in rows)
    context = bench.recipe.model.context
    assert rows[0][4] == f"{4 * context / 0.115:,.0f}"
    assert rows[2][4:] == ("OOM", "", "", "", "", "")
    lines = list(map(str, bench_lines(bench)))
    assert any("OOM" in line for line in lines) and "  tf32: it needs an NVIDIA GPU" in lines
    assert any("(training waits 0.10 s)" in line for line in lines)


def test_the_picture_has_a_curve_for_each_way_and_marks_what_failed(bench, tmp_path):
    figure = draw_bench(bench)
    labels = {line.get_label() for line in figure.axes[0].get_lines()}
    assert labels == {bench.base.how, bench.base.how.replace("fp32", "bf16")}
    assert any("OOM" in text.get_text() for text in figure.axes[0].texts)
    written = write_bench(bench, tmp_path / "bench")
    assert [path.name for path in written] == ["bench.svg", "bench.png"]
    assert "tokens a second" in "".join(xml.etree.ElementTree.parse(written[0]).getroot().itertext())
    assert written[1].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("low, high", [(0.02, 0.03), (0.7, 0.95), (3, 70), (9, 21), (110, 135), (80, 4_000), (1, 1e6)])
def test_an_axis_of_milliseconds_has_three_to_nine_ticks_within_it(low, high):
    ticks = log_ticks(low, high)
    assert 3 <= len(ticks) <= 9
    assert all(low <= tick <= high for tick in ticks)


@pytest.mark.parametrize("seconds", [(0.055, 0.061), (0.02, 1.9), (0.9, 0.0015)])
def test_each_axis_of_the_picture_has_ticks(bench, seconds):
    bench.rows[0].rounds, bench.rows[1].rounds = [(seconds[0],)], [(seconds[1],)]
    bench.rows[3].rounds = [(seconds[0] * 1.1,)]
    for axes in draw_bench(bench).axes:
        low, high = axes.get_ylim()
        assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 3


def test_nothing_measured_is_nothing_to_draw(bench):
    bench.rows = bench.rows[2:3]
    with pytest.raises(LabError, match="nothing was measured"):
        draw_bench(bench)


def test_the_verb_prints_writes_and_says_that_it_was_interrupted(bench, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("lmlab.experiment.benching.bench", lambda recipe, **options: asked.append(options) or bench)
    assert main(["bench", "first", "--batch", "4,8", "--out", str(tmp_path / "b.json"), "--json", "--quiet"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert asked[0]["batches"] == (4, 8) and asked[0]["rounds"] is None
    assert [row["batch"] for row in value["rows"]] == [4, 8, 16, 4]
    assert [path.rpartition(".")[2] for path in value["files"]] == ["json", "svg", "png"]
    assert json.loads((tmp_path / "b.json").read_text())["rows"] == value["rows"]
    bench.interrupted = True
    assert main(["bench", "first", "--out", str(tmp_path / "b")]) == 3
    assert "interrupted: only what was measured by then is shown" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs a recipe"),
        (["shakespear-cpu"], "shakespeare-cpu"),
        (["first", "--batch", "1,x"], "expected batch sizes with commas between"),
        (["first", "--batch", "0"], "expected batch sizes from 1"),
        (["first", "--rounds", "-1"], "expected 1 to 100"),
        (["first", "--quick", "--thorough"], "exclude each other"),
        (["first", "--precision", "bf16"], "--train.precision"),
        (["first", "--model.wdth", "3"], "model.width"),
    ],
)
def test_bad_input_is_answered_in_one_line(words, said, capsys):
    assert main(["bench", *words]) in (1, 2)
    answer = capsys.readouterr().err
    assert said in answer and len(answer.strip().splitlines()) == 1


def test_the_head_says_how_much_of_a_sequence_is_padding(bench):
    assert "128 tokens a sequence" in str(bench_lines(bench)[0])
    bench.sequence_tokens = 96.0
    assert "128 tokens (25.0% of them padding, which no figure counts) a sequence" in str(bench_lines(bench)[0])
