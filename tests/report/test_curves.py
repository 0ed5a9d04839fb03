"""Series from lines of metrics, the running mean, and the words and places of labels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.report.curves import read_curves, running_mean
from lmlab.report.labels import amount, rates_in_words, short, small, spread


def train(step, loss, segment=0, **more):
    return {"segment": segment, "step": step, "tokens": 100 * step, "kind": "train", "loss": loss, **more}


def evaluation(step, valid, whole=True, segment=0, **more):
    line = {"segment": segment, "step": step, "tokens": 100 * step, "kind": "evaluation"}
    return {**line, "valid_loss": valid, "train_loss": valid, "whole": whole, **more}


def test_lines_become_series_against_steps_and_tokens():
    data = read_curves(
        "a", [train(10, 3.0, learning_rate=0.1), train(20, 2.5, learning_rate=0.05), evaluation(20, 2.6)]
    )
    assert data.train.places("steps").tolist() == [10, 20]
    assert data.train.places("tokens").tolist() == [1000, 2000]
    assert data.rate.values == (0.1, 0.05)
    assert data.valid.values == (2.6,)
    assert len(data.norm) == 0


@pytest.mark.parametrize("broken", [None, math.nan, math.inf, "high"])
def test_a_loss_that_is_no_finite_number_is_a_gap(broken):
    data = read_curves("a", [train(1, 3.0), train(2, broken), train(3, 2.0)])
    assert math.isnan(data.train.values[1])
    assert data.train.finite().values == (3.0, 2.0)


def test_updates_that_were_left_out_stand_beside_losses_that_were_not_finite():
    skipped = {"segment": 0, "step": 7, "tokens": 700, "kind": "skipped_update", "scale": None}
    other = {"segment": 0, "step": 8, "tokens": 800, "kind": "started"}
    data = read_curves("a", [train(5, None), train(10, 2.0)], events=[skipped, other])
    assert data.broken.places("steps").tolist() == [5, 7]
    assert data.broken.places("tokens").tolist() == [500, 700]


@pytest.mark.parametrize("line", [{}, {"step": "3", "tokens": 1, "kind": "train"}, {"step": 3, "tokens": 1}])
def test_a_line_without_a_step_is_refused_in_one_line(line):
    with pytest.raises(LabError, match="run a has a line of metrics or events without step"):
        read_curves("a", [train(1, 3.0), line])


def test_of_two_evaluations_at_one_step_the_later_line_counts():
    data = read_curves("a", [evaluation(10, 2.0), evaluation(10, 1.9)])
    assert data.valid.values == (1.9,)


def test_the_figure_to_quote_is_of_the_whole_split_where_it_was_scored():
    sampled = [evaluation(10, 2.0, whole=False), evaluation(20, 1.8, whole=False), evaluation(30, 1.9, whole=False)]
    running = read_curves("a", sampled)
    assert (running.best().loss, running.best().step, running.best().whole) == (1.8, 20, False)
    summary = {"best": {"step": 20, "loss": 1.85, "tokens": 7}, "final": {"step": 30, "loss": 1.95, "tokens": 7}}
    done = read_curves("a", sampled, summary=summary)
    assert done.valid.values == (2.0, 1.8, 1.9)
    assert (done.final.steps, done.final.tokens, done.final.values) == ((20, 30), (2000, 3000), (1.85, 1.95))
    assert (done.best().loss, done.best().step, done.best().whole) == (1.85, 20, True)


def test_evaluations_of_the_whole_split_need_no_second_score():
    data = read_curves("a", [evaluation(10, 2.0)], summary={"best": {"step": 10, "loss": 2.0}})
    assert not len(data.final)
    assert data.best().whole


@pytest.mark.parametrize(
    "summary", [{}, {"best": None}, {"best": {}, "final": {"step": "x", "loss": 1}}, {"best": {"step": 5}}]
)
def test_a_summary_that_lacks_figures_adds_none(summary):
    assert not len(read_curves("a", [evaluation(10, 2.0, whole=False)], summary=summary).final.finite())


def test_resumes_stand_at_the_first_line_of_each_later_segment():
    lines = [
        train(10, 3.0),
        train(20, 2.9),
        train(30, 2.8, segment=1),
        train(40, 2.7, segment=2),
        train(50, 2.6, segment=2),
    ]
    assert read_curves("a", lines).resumes.steps == (30, 40)


def test_the_turn_is_found_among_finite_evaluations():
    losses = [3.0, 2.5, None, 2.2, 2.1, 2.2, 2.3, 2.4, 2.5]
    turn = read_curves("a", [evaluation(100 * place, loss) for place, loss in enumerate(losses)]).turn()
    assert (turn.step, turn.loss, turn.rose) == (400, 2.1, True)


def test_a_run_without_losses_is_empty():
    assert read_curves("a", []).is_empty()
    assert read_curves("a", [train(1, None), evaluation(1, None)]).is_empty()
    assert read_curves("a", [train(1, None)]).turn() is None


def test_tokens_at_a_step_follow_the_lines_and_go_on_at_their_pace():
    data = read_curves("a", [train(10, 3.0), train(20, 2.5)])
    assert data.tokens_at(15) == 1500
    assert data.tokens_at(40) == 4000
    assert math.isnan(read_curves("a", []).tokens_at(10))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.integers(1, 15))
def test_the_running_mean_is_the_mean_over_the_values_around_each(values, width):
    reach = width // 2
    expected = []
    for place in range(len(values)):
        near = min(reach, place)
        high = min(len(values), place + near + 1)
        low = min(place - near, max(0, high - 1 - 2 * near))
        expected.append(np.mean(values[low:high]))
    assert running_mean(np.array(values), width) == pytest.approx(expected)


def test_the_running_mean_passes_over_gaps():
    assert running_mean(np.array([1.0, np.nan, 3.0]), 3)[1] == 2.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8), st.floats(0.5, 10))
def test_labels_keep_their_order_and_their_distance(wanted, gap):
    placed = spread(wanted, gap, 0.0, 100.0)
    order = np.argsort(wanted, kind="stable")
    distances = np.diff(np.array(placed)[order])
    assert (distances >= gap - 1e-9).all()
    assert min(placed) >= -1e-9
    assert max(placed) <= 100 + 1e-9


def test_labels_that_are_far_apart_stay_where_they_belong():
    assert spread([10.0, 50.0, 30.0], 5.0, 0.0, 100.0) == [10.0, 50.0, 30.0]


def test_two_labels_at_one_place_part_evenly():
    assert spread([50.0, 50.0], 10.0, 0.0, 100.0) == [45.0, 55.0]


def test_more_labels_than_fit_are_spaced_evenly():
    assert spread([1.0, 1.0, 1.0], 50.0, 0.0, 40.0) == [0.0, 20.0, 40.0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (1500, "1,500"),
        (9999, "9,999"),
        (81_920_000, "81.9M"),
        (250_000, "250k"),
        (999_960, "1M"),
        (3.28e9, "3.3B"),
    ],
)
def test_amounts_are_written_short(value, words):
    assert amount(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0003, "3e-4"), (0.02, "0.02"), (12.5, "12.5"), (0.0, "0"), (0.00125, "1.25e-3"), (2e5, "2e5")],
)
def test_small_numbers_are_written_short(value, words):
    assert small(value) == words


@pytest.mark.parametrize(
    ("rates", "words"),
    [([0.005, 0.01, 0.02], ["0.005", "0.01", "0.02"]), ([3e-4, 0.01], ["3e-4", "1e-2"]), ([], [])],
)
def test_the_rates_of_one_axis_are_written_in_one_style(rates, words):
    assert list(rates_in_words(rates).values()) == words


def test_a_long_name_keeps_both_ends():
    name = "a-long-name-of-a-run-that-goes-on-17"
    assert len(short(name, 20)) == 20
    assert short(name, 20).startswith("a-long-na")
    assert short(name, 20).endswith("oes-on-17")
    assert short("short") == "short"
