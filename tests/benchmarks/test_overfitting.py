"""The benchmark of overfitting verdicts: curves that are what they are called, and a table that counts the verdicts on them."""

import numpy as np
import pytest

from benchmarks import verdicts
from benchmarks.overfitting import LOSS, RISES, UNITS, cases, curve_of, section, simulated


@pytest.fixture(scope="module")
def by_name():
    return {case.name: case for case in cases()}


def test_a_curve_rises_and_is_harder_by_what_its_name_says(by_name):
    known = [curve_of(by_name["rises by 8%"], 20, np.random.default_rng(seed))[0] for seed in range(60)]
    mean = np.array([[entry.valid for entry in curve] for curve in known]).mean(axis=0)
    assert mean[-1] - mean.min() == pytest.approx(RISES[-1] * LOSS, abs=0.01)
    harder = by_name["falling, validation harder, 0.3 passes"]
    gaps = [curve_of(harder, 12, np.random.default_rng(seed))[0][-1].gap.value for seed in range(60)]
    assert np.mean(gaps) == pytest.approx(0.3, abs=0.02)


def test_a_rise_of_one_unit_is_as_large_as_that_of_all(by_name):
    _, few = curve_of(by_name["one unit of 100 rises"], 10, np.random.default_rng(0))
    change = (few.bits[:, -1] - few.bits[:, 4]) * np.log(2.0) / few.tokens
    assert change.mean() == pytest.approx(RISES[1] * LOSS, abs=0.03)
    assert np.median(change) == pytest.approx(0.0, abs=0.03) and len(change) == UNITS


@pytest.mark.parametrize(
    ("name", "length", "least"),
    [
        ("rises by 4%", 12, 0.9),
        ("rises by 8%", 8, 0.9),
        ("falling", 12, 0.95),
        ("falling, validation harder, 0.3 passes", 12, 0.95),
        ("falling, validation harder, 4 passes", 12, 0.9),
        ("falling, gap grows to 0.3", 12, 0.9),
        ("flat, training falls", 12, 0.8),
    ],
)
def test_the_wanted_verdict_falls_on_most_curves(by_name, name, length, least):
    case = by_name[name]
    told = simulated(case, length, True, repeats=40)["told"]
    assert told.get(case.wanted, 0) >= least * 40


def test_the_section_has_the_share_of_false_alarms_and_of_rises_found(by_name):
    found = [
        {
            "case": "flat",
            "wanted": "none",
            "evaluations": 6,
            "units": units,
            "curves": 50,
            "told": {"none": 48, "slight": 2},
        }
        for units in (True, False)
    ]
    trained = [
        {"kind": "short", "verdict": "overfitting", "rise": 0.2},
        {"kind": "short", "verdict": "none", "rise": 0.1},
    ]
    lines = section({"simulated": found, "scatter": 0.005, "trained": trained, "logs": [{"verdict": "none"}]})
    assert "| flat | units | none | 4.0% |" in lines
    assert "| short | 1 overfitting, 1 none | 0.100 to 0.200 |" in lines
    assert "Published logs with validation losses, 1: 1 none." in lines


def test_the_page_keeps_its_section_when_comparisons_are_counted_again(tmp_path, monkeypatch):
    monkeypatch.setattr(verdicts, "measured", lambda runs: {})
    monkeypatch.setattr(verdicts, "context", lambda corpus: {})
    monkeypatch.setattr(verdicts, "page", lambda value: "# What verdicts are worth\n")
    (tmp_path / "verdicts.md").write_text("# Old\n\n## Overfitting\n\nkept\n")
    verdicts.table(tmp_path, tmp_path)
    assert (tmp_path / "verdicts.md").read_text() == "# What verdicts are worth\n\n## Overfitting\n\nkept\n"
