"""A run's outlook follows from its lines alone, is shown from a third on, and a miss is told once."""

import doctest
import math

import pytest

from lmlab.scaling.estimate import Estimate
from lmlab.training import outlook as module
from lmlab.training.outlook import MISSED, Outlook, forecast_loss, missed_words

STEPS = 1000
LOSSES = {step: 1.5 + 2.0 * (max(step, 10) / 10) ** -0.4 for step in range(0, STEPS + 1, 50)}


def forecast(high):
    return Estimate(value=high - 0.05, low=high - 0.1, high=high, evidence="fitted")


def new_outlook(high=None):
    return Outlook(lambda step: 1.0, STEPS, None if high is None else forecast(high))


def line(step, **changes):
    return {"kind": "evaluation", "step": step, "valid_loss": LOSSES[step], **changes}


def told(outlook, steps):
    """step -> the event's values."""
    found = {step: outlook.add(step, LOSSES[step]) for step in steps}
    return {step: values for step, values in found.items() if values}


def test_nothing_is_shown_before_a_third_of_the_run_and_something_after_it():
    outlook = new_outlook()
    for step in LOSSES:
        outlook.add(step, LOSSES[step])
        assert (outlook.words() != "") is (333 <= step < STEPS), step
        if outlook.expected is not None:
            assert outlook.expected.holds(LOSSES[STEPS])


def test_a_miss_is_told_once_and_only_where_the_whole_interval_lies_above_the_forecast():
    assert told(new_outlook(1.5), LOSSES).keys() == {350}
    assert told(new_outlook(), LOSSES) == {} == told(new_outlook(2.0), LOSSES)
    late = told(new_outlook(LOSSES[STEPS] - 0.04), LOSSES)
    ((step, values),) = late.items()
    assert (
        step > 350 and values["low"] > values["forecast_high"] and values["low"] < values["expected"] < values["high"]
    )


@pytest.mark.parametrize("stopped", range(0, STEPS, 50))
def test_an_outlook_read_from_the_lines_goes_on_as_the_one_that_wrote_them(stopped):
    whole, high = new_outlook(LOSSES[STEPS] - 0.03), LOSSES[STEPS] - 0.03
    events = told(whole, LOSSES)
    before = [step for step in LOSSES if step <= stopped]
    lines = [{"kind": "train", "step": 1, "loss": 3.0}, *map(line, before)]
    written = [{"kind": "checkpoint"}, *({"kind": MISSED, **events[step]} for step in before if step in events)]
    resumed = new_outlook(high)
    resumed.read(lines, written)
    rest = told(resumed, [step for step in LOSSES if step > stopped])
    assert rest == {step: values for step, values in events.items() if step > stopped}
    # A rewind forgets what lies beyond it.
    whole.read(lines, written)
    assert told(whole, [step for step in LOSSES if step > stopped]) == rest


def test_lines_that_hold_no_loss_are_passed_over():
    lines = [line(step) for step in LOSSES if step <= 500]
    damaged = [
        line(0, valid_loss=None),
        line(50, valid_loss="2.1"),
        {**line(100), "step": "x"},
        line(150, valid_loss=True),
    ]
    clean, other = new_outlook(), new_outlook()
    clean.read(lines, [])
    other.read([*damaged, {"kind": "evaluation"}, *lines], [])
    assert clean.expected == other.expected is not None
    assert clean.add(500, math.nan) is None and clean.expected == other.expected


def test_a_forecast_comes_out_of_forecast_json_and_anything_else_is_none():
    estimate = forecast(2.0)
    assert forecast_loss({"figures": {"final_loss": estimate.to_json()}}) == estimate
    for value in (None, [], {}, {"figures": 3}, {"figures": {}}, {"figures": {"final_loss": {"value": 1.0}}}):
        assert forecast_loss(value) is None
    assert forecast_loss({"figures": {"final_loss": {"value": "1", "low": 1.0, "high": None}}}) is None


def test_words_have_the_digits_that_the_interval_allows():
    assert doctest.testmod(module, extraglobs={"Estimate": Estimate}).failed == 0
    wide = Estimate(value=2.314, low=1.9, high=2.7, evidence="extrapolated")
    assert module.about(wide) == "about 2.3 (1.9 to 2.7)"
    close = Estimate(value=2.3141, low=2.3132, high=2.3151, evidence="extrapolated")
    assert module.about(close) == "about 2.314 (2.313 to 2.315)"
    values = {"forecast": 1.5, "forecast_high": 1.6, "expected": 1.72, "low": 1.65, "high": 1.8}
    assert "a loss of 1.65 to 1.8, where 1.5 was expected, and 1.6 at most" in missed_words(values)
    assert "where ? was expected" in missed_words({"low": None})
