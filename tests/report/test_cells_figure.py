"""The picture of a factorial study: which factor is drawn how, and every run as a dot."""

import dataclasses

import numpy as np
import pytest

from lmlab.recipe import Recipe, override
from lmlab.report.cells_figure import Layout, draw_cells, layout_of, write_cells
from lmlab.stats.paired_seeds import Noise
from lmlab.stats.verdict import SeedNoise
from lmlab.study.grid.cells import Cells, RunResult
from lmlab.study.grid.design import Factor, Level
from lmlab.study.grid.ledger import StudyResult
from lmlab.study.grid.study_plan import StudyPlan


def factor(name, field, *values):
    return Factor(name=name, levels=tuple(Level(label=str(value), settings={field: value}) for value in values))


WIDTH = factor("width", "model.width", 64, 256, 512)
RATE = factor("rate", "optim.lr", 1e-3, 8e-3)
TRANSFER = factor("transfer", "optim.transfer_from", (32,))


def result_of(*factors, design="factorial", seeds=2):
    base = override(Recipe(), {"model.width": "128", "optim.lr": "0.002"})
    plan = StudyPlan(name="s", about="", asked="", base=base, factors=factors, design=design, seeds=seeds)
    runs = [
        RunResult(
            name=f"{cell}-{seed}", id="x", cell=cell, seed=seed, status="finished", loss=2.0 + sum(cell) + seed / 10
        )
        for cell in plan.cells
        for seed in range(seeds)
    ]
    noise = Noise(seeds=SeedNoise(standard_deviation=0.1, seeds=4, source="measured"))
    cells = Cells(measure="nats a token", runs=tuple(runs))
    return StudyResult(plan=plan, cells=cells, noise=noise, effects=())


def test_the_rate_is_the_horizontal_axis_though_another_factor_has_more_numbers():
    plan = result_of(WIDTH, RATE, TRANSFER).plan
    assert layout_of(plan) == Layout(across=1, values=(2e-3, 1e-3, 8e-3), lines=0, panels=(2,))
    assert layout_of(dataclasses.replace(plan, factors=(WIDTH, TRANSFER))).across == 0


@pytest.mark.parametrize(
    ("factors", "design"),
    [((TRANSFER,), "factorial"), ((factor("rate", "optim.lr", 1e-3),), "factorial"), ((WIDTH, RATE), "one-factor")],
)
def test_studies_without_three_numbers_of_one_field_have_no_such_picture(factors, design, tmp_path):
    assert layout_of(result_of(*factors, design=design).plan) is None
    assert write_cells(result_of(*factors, design=design), tmp_path) == []


def test_every_run_is_a_dot_and_the_lines_go_through_the_means(tmp_path):
    result = result_of(WIDTH, RATE, TRANSFER)
    figure = draw_cells(result, layout_of(result.plan))
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title("left") for axes in panels] == ["without transfer", "transfer (32,)"]
    dots = [line for axes in panels for line in axes.lines if line.get_linestyle() == "None"]
    assert sum(len(line.get_xdata()) for line in dots) == len(result.cells.runs) == 48
    means = [line for line in panels[0].lines if line.get_linestyle() != "None"]
    assert [line.get_label() for line in means] == ["width 64", "width 128", "width 256", "width 512"]
    np.testing.assert_allclose(means[1].get_xdata(), [1e-3, 2e-3, 8e-3])
    np.testing.assert_allclose(means[1].get_ydata(), [3.05, 2.05, 4.05])
    assert [path.name for path in write_cells(result, tmp_path)] == ["cells.svg", "cells.png"]
