"""A forecast held against what came, and many of them together."""

import math

import pytest

from lmlab.planning.forecasts.score import calibrations_from, counts_wall_time, qualities, score, score_line

FORECAST = {
    "total_seconds": 100.0,
    "raw": {"total_seconds": 90.0},
    "figures": {
        "total_seconds": {"value": 100.0, "low": 95.0, "high": 105.0},
        "final_loss": {"value": 2.0, "low": 1.9, "high": 2.1},
    },
    "evaluate_seconds": 10.0,
}
WALL = FORECAST | {"since": "process", "start_seconds": 20.0}


def test_of_a_wall_time_what_was_still_to_come_is_learnt_from():
    found = score(WALL, {"total_seconds": 108.0}, resumed=True)["total_seconds"]
    assert found["ratio"] == 1.08 and found["raw_ratio"] == pytest.approx(88 / 70)
    assert found["since"] == "process" and found["resumed"]
    damaged = score(WALL | {"start_seconds": 95.0}, {"total_seconds": 108.0})["total_seconds"]
    assert "raw_ratio" not in damaged


def test_a_score_has_ratio_interval_and_the_ratio_before_correction():
    found = score(FORECAST, {"total_seconds": 108.0, "final_loss": 1.95, "evaluate_seconds": 12.0, "unheard_of": 1.0})
    assert found["total_seconds"] == {
        **{"forecast": 100.0, "measured": 108.0, "ratio": 1.08, "low": 95.0, "high": 105.0, "inside": False},
        "raw_ratio": 1.2,
    }
    assert found["final_loss"]["inside"] and "raw_ratio" not in found["final_loss"]
    assert found["evaluate_seconds"] == {"forecast": 10.0, "measured": 12.0, "ratio": 1.2}
    assert "unheard_of" not in found
    assert "x1.08, outside the interval" in score_line(found)


@pytest.mark.parametrize(
    "forecast", [None, [], {}, {"figures": 3, "raw": []}, {"total_seconds": "soon"}, {"total_seconds": 0}]
)
def test_what_is_no_forecast_scores_nothing(forecast):
    assert score(forecast, {"total_seconds": 108.0}) == {}


@pytest.mark.parametrize("since", [[], {}, 3, "yesterday", None])
def test_a_time_counts_as_wall_time_from_known_events_only(since):
    assert not counts_wall_time({"since": since})
    assert counts_wall_time({"since": "process"})


def test_a_loss_that_is_no_number_is_no_score():
    assert score(FORECAST, {"final_loss": math.nan}) == {}


def test_qualities_count_errors_and_intervals_that_held():
    scores = [score(FORECAST, {"total_seconds": seconds}) for seconds in (90.0, 98.0, 104.0, 120.0)]
    (quality,) = qualities(scores)
    assert (quality.figure, quality.runs, quality.intervals, quality.coverage) == ("total_seconds", 4, 4, 0.5)
    assert quality.median_error == pytest.approx(0.07) and quality.worst == pytest.approx(0.2)
    assert quality.bias == pytest.approx(0.01)
    assert calibrations_from(scores)["total_seconds"].runs == 0, "they are of before there was wall time"
    walls = [score(WALL, {"total_seconds": seconds}) for seconds in (90.0, 98.0, 104.0, 120.0)]
    assert calibrations_from([*scores, *walls])["total_seconds"].runs == 4
    assert qualities(scores[:1]) == []
