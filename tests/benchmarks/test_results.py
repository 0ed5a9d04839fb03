"""Results come back from their file as they went in, and become tables between a document's markers and nowhere else."""

import dataclasses
import json
import subprocess
import sys

import pytest

from benchmarks.machine import context
from benchmarks.render import by_document, fill, render
from benchmarks.results import Measurement, Results, Skipped, compare_all, read_results, write_results
from benchmarks.targets import TARGETS, verdicts
from benchmarks.worker import ROOT
from lmlab import LabError

CASE = "0.8M T64 B12"


def found(ours=(17.0, 18.0, 16.0), peer=(10.0, 10.0, 8.0), quick=False):
    measurements = tuple(
        Measurement(
            case=CASE,
            side=side,
            quantity="training",
            unit="tokens/s",
            samples=samples,
            details={"parameters": {"total": 810_000, "lookup_tables": 9_000, "without_tables": 801_000}},
        )
        for side, samples in (("lmlab native", ours), ("nanoGPT eager", peer))
    )
    return Results(
        part="speed",
        quick=quick,
        context=json.loads(json.dumps(context(None))),
        settings={"threads": 2, "rounds": 3, "turn_seconds": 2.0},
        measurements=measurements,
        comparisons=compare_all(measurements),
        skipped=(Skipped(case=CASE, side="transformers", reason="it isn't installed"),),
    )


def test_a_file_gives_back_what_was_written(tmp_path):
    results = found()
    write_results(tmp_path / "new" / "speed.json", results)
    assert read_results(tmp_path / "new" / "speed.json") == results


def test_a_file_has_every_sample_and_its_statistics(tmp_path):
    write_results(tmp_path / "speed.json", found())
    value = json.loads((tmp_path / "speed.json").read_text())
    ours, comparison = value["measurements"][0], value["comparisons"][0]
    assert (ours["samples"], ours["median"], ours["quartiles"]) == ([17.0, 18.0, 16.0], 17.0, [16.5, 17.5])
    assert (comparison["samples"], comparison["median"], comparison["range"]) == ([1.7, 1.8, 2.0], 1.8, [1.7, 2.0])
    assert {"cpu", "physical_cores", "instructions", "load_average_before"} <= set(value["machine"])
    assert {"python", "torch", "numpy", "lmlab", "compiler"} <= set(value["versions"])
    assert {"commit", "dirty"} <= set(value["source"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "holds no results of a benchmark: expected a file that `python -m benchmarks.cpu` wrote"),
        ("[]", "holds no results of a benchmark: expected a file that `python -m benchmarks.cpu` wrote"),
        ('{"format": 1, "measurements": []}', "lacks 'part': expected a file that `python -m benchmarks.cpu` wrote"),
        ("nothing", "is damaged: expected JSON"),
    ],
    ids=["object", "list", "nothing in it", "no JSON"],
)
def test_another_file_is_refused_in_one_line(tmp_path, text, words):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(LabError, match=f"other.json {words}") as error:
        read_results(tmp_path / "other.json")
    assert "\n" not in str(error.value)


DOCUMENT = """# Title

prose before <!-- begin: speed -->
<!-- begin: speed -->
an old table
<!-- end: speed -->

prose after
<!-- begin: targets -->
<!-- end: targets -->
<!-- begin: loss -->
another part's table
<!-- end: loss -->
"""


def test_only_what_stands_between_markers_of_a_part_with_results_is_replaced():
    document = DOCUMENT.replace("prose before <!-- begin: speed -->", "prose before")
    filled = fill(document, render([found()]))
    assert "an old table" not in filled and "| lmlab native | 801,000 + 9,000 in tables |" in filled
    for kept in ("# Title\n\nprose before\n", "\nprose after\n", "another part's table"):
        assert kept in filled
    assert fill(filled, render([found()])) == filled


def test_a_table_without_a_place_is_refused():
    with pytest.raises(LabError, match="begin: speed"):
        fill("<!-- begin: targets -->\n<!-- end: targets -->\n", render([found()]))


def test_the_document_has_a_place_for_every_part():
    parts = {target.part for target in TARGETS} | {"data", "profile", "targets", "recurrence"}
    filled = fill((ROOT / "docs" / "performance.md").read_text(encoding="utf-8"), dict.fromkeys(parts, "a table"))
    assert filled.count("\na table\n") == len(parts)


def test_a_place_within_a_line_is_filled_there():
    filled = fill("it is <!-- begin: rate -->1<!-- end: rate --> times as fast\n", {"rate": "2.5"})
    assert filled == "it is <!-- begin: rate -->2.5<!-- end: rate --> times as fast\n"


def test_a_table_of_another_document_leaves_the_targets_alone():
    results = dataclasses.replace(signal(), part="signal")
    assert [(path.name, list(texts)) for path, texts in by_document(render([results])).items()] == [
        ("context-propagation.md", ["signal"])
    ]


def signal():
    values = {"spread": 2.94e-4, "first_layer_gradient": 1.61e-6, "head_gradient": 7.8e-12}
    return dataclasses.replace(
        found(),
        part="signal",
        measurements=tuple(
            Measurement(case="a model", side="lmlab", quantity=quantity, unit="", samples=(value,))
            for quantity, value in values.items()
        ),
        comparisons=(),
        skipped=(),
    )


def test_the_table_of_the_signal_has_its_three_figures_as_they_are_typed():
    assert "| a model | 2.9e-4 | 1.6e-6 | 7.8e-12 |" in render([signal()])["signal"]


def test_the_table_of_the_recurrence_has_milliseconds_ratios_by_round_and_the_share_of_the_peak():
    sides = {"lmlab native": (0.1, 0.2), "plain loop": (0.2, 0.6), "products alone": (0.15, 0.15)}
    steps = [
        Measurement(case="c", side=side, quantity="step", unit="s", samples=samples, details={"flops": 3e9})
        for side, samples in sides.items()
    ]
    peak = Measurement(case="c", side="registers", quantity="peak", unit="FLOP/s", samples=(40e9,))
    compared = tuple(one for one in compare_all(steps) if one.against == "plain loop")
    results = dataclasses.replace(
        found(), part="recurrence", measurements=(*steps, peak), comparisons=compared, skipped=()
    )
    # 3e9 / 0.15 s = 20 of 40 GFLOP/s; 0.2 / 0.1 = 2 and 0.6 / 0.2 = 3 times.
    row = "| c | 150 ms | - | 150 ms | 400 ms | 2.50 (2.00 to 3.00) | 50% of 40 GFLOP/s |"
    assert row in render([results])["recurrence"]


def test_a_target_stands_beside_the_latest_figure_and_what_was_not_measured_says_so():
    old, new = found(ours=(10.0, 10.0, 8.0)), found()
    old = dataclasses.replace(old, context={**old.context, "date": "2020-01-01T00:00:00+00:00"})
    first, second, *_ = verdicts([new, old])
    assert (first.target.bound, first.side, first.measured, first.met) == (1.65, "lmlab native", 1.8, True)
    assert (second.measured, second.met) == (None, None)
    assert verdicts([old])[0].met is False


def on(cpu, results, **limits):
    machine = {**results.context["machine"], "cpu": cpu, "limits": limits}
    return dataclasses.replace(results, context={**results.context, "machine": machine})


def test_each_processor_has_its_own_verdict():
    slow = on("Slow", found(ours=(10.0, 10.0, 8.0)), ATEN_CPU_CAPABILITY="avx2", MKL_ENABLE_INSTRUCTIONS="AVX2")
    both = verdicts([on("Quick", found()), slow])[:2]
    assert {(one.processor, one.met) for one in both} == {("Quick", True), ("Slow held to AVX2", False)}
    assert both[0].target == both[1].target


def test_goals_of_one_processor_share_a_table():
    def goal(case):
        timed = (
            Measurement(
                case=case, side="lmlab with tables", quantity=quantity, unit="s", samples=(2.0,), details={"steps": 3}
            )
            for quantity in ("seconds", "loss")
        )
        return dataclasses.replace(found(), part="loss", measurements=tuple(timed), comparisons=())

    here = [on("One", goal("shakespeare to 1.55")), on("One", goal("shakespeare to 1.88"))]
    text = render([*here, on("Two", goal("shakespeare to 1.7"))])["loss"]
    assert text.count("| goal |") == 2 and text.index("to 1.88") < text.index("to 1.55") < text.index("to 1.7")


def test_a_second_corpus_is_held_against_the_first():
    def timed(case, ours, like):
        both = [
            Measurement(case=case, side=side, quantity="seconds", unit="s", samples=(seconds,))
            for side, seconds in (("lmlab with tables", ours), ("nanoGPT", 80.0))
        ]
        settings = {"threads": 2, "seeds": [1], "like": like}
        return dataclasses.replace(
            found(), part="loss", settings=settings, measurements=tuple(both), comparisons=compare_all(both)
        )

    first = timed("shakespeare to 1.88", 10.0, {})
    second = timed("stories to 1.2", 16.0, {"stories to 1.2": "shakespeare to 1.88"})
    last = verdicts([first, second])[-1]
    assert (last.target.case, last.measured, last.met) == ("stories to 1.2", pytest.approx(5 / 8), False)


def test_a_smoke_run_is_never_rendered(tmp_path):
    write_results(tmp_path / "speed.json", found(quick=True))
    (tmp_path / "document.md").write_text("<!-- begin: speed -->\n<!-- end: speed -->\n")
    command = [sys.executable, "-m", "benchmarks.render", str(tmp_path / "speed.json"), "--into"]
    asked = subprocess.run([*command, str(tmp_path / "document.md")], cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 1 and "smoke run" in asked.stderr


def test_a_target_that_was_missed_says_how():
    reason = "seed 1: not reached: 1.9000 after 30.0 s"
    missed = Skipped(case="shakespeare to 1.88", side="lmlab with tables", reason=reason)
    results = dataclasses.replace(found(), part="loss", measurements=(), comparisons=(), skipped=(missed,))
    verdict = next(one for one in verdicts([results]) if one.target.case == missed.case)
    assert (verdict.met, verdict.reason) == (None, reason)
