"""What stands in the figure, read back from matplotlib's own objects."""

import math

import numpy as np
import pytest

from lmlab.recipe import Claim
from lmlab.report.curves import read_curves
from lmlab.report.figure import draw_curves
from lmlab.report.style import RUN_COLOURS

README = Claim(metric="valid_loss", value=1.47, source="a README")


def overfitting(name="over-1", steps=1000, claims=(), resumed=None, norm=lambda step: 1.0):
    """Training falls all the way; validation is best (1.5) at step 500 and then rises."""
    lines = []
    for step in range(0, steps + 1, 10):
        line = {"segment": int(resumed is not None and step >= resumed), "step": step, "tokens": 64 * step}
        loss = 1.0 + 3.0 * math.exp(-step / 150)
        lines.append({**line, "kind": "train", "loss": loss, "learning_rate": 1e-3, "gradient_norm": norm(step)})
        if step % 100 == 0:
            valid = 1.5 + 2.5e-6 * (step - 500) ** 2
            lines.append({**line, "kind": "evaluation", "valid_loss": valid, "train_loss": loss})
    return read_curves(name, lines, claims=claims)


def words(figure):
    """Every text in the figure."""
    found = list(figure.texts)
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label]
    return [text.get_text() for text in found if text.get_text()]


def markers(axes, marker):
    """The lines of a panel that are drawn with that marker."""
    return [line for line in axes.get_lines() if line.get_marker() == marker]


def test_the_panels_show_loss_rate_and_norm():
    figure = draw_curves([overfitting()])
    assert [axes._left_title.get_text() for axes in figure.axes] == [
        "loss, nats a token",
        "learning rate",
        "gradient norm",
    ]
    assert tuple(figure.get_size_inches() * figure.dpi) == (1200, 900)


def test_the_best_point_is_ringed_and_named_and_the_turn_marked():
    figure = draw_curves([overfitting()])
    (ring,) = [line for line in markers(figure.axes[0], "o") if line.get_markersize() == 11]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (500, 1.5)
    assert "best 1.5000 at step 500" in words(figure)
    assert "validation turns up at step 500" in words(figure)
    dashed = [line for line in figure.axes[0].get_lines() if list(line.get_xdata()) == [500, 500]]
    assert len(dashed) == 1


def test_a_curve_that_still_falls_has_no_turn():
    figure = draw_curves([overfitting(steps=500)])
    assert "best 1.5000 at step 500" in words(figure)
    assert not [text for text in words(figure) if "turns up" in text]


def test_curves_are_named_where_they_end_with_their_last_values():
    found = words(draw_curves([overfitting()]))
    assert "2.1250  validation" in found
    assert any(text.endswith("training text, no dropout") for text in found)
    assert any(text.endswith("training batches") for text in found)


def test_against_tokens_everything_moves_to_its_token():
    figure = draw_curves([overfitting(resumed=300)], "tokens")
    (ring,) = [line for line in markers(figure.axes[0], "o") if line.get_markersize() == 11]
    assert ring.get_xdata()[0] == 500 * 64
    (tick,) = [line for line in markers(figure.axes[0], "^") if len(line.get_xdata())]
    assert list(tick.get_xdata()) == [300 * 64]
    assert "tokens trained on" in words(figure)


def test_resumes_are_ticks_on_the_axis():
    figure = draw_curves([overfitting(resumed=300)])
    (tick,) = [line for line in markers(figure.axes[0], "^") if len(line.get_xdata())]
    assert list(tick.get_xdata()) == [300]
    assert "resumed" in words(figure)


def test_a_published_number_without_a_step_is_a_dotted_level_line_with_its_source_below():
    figure = draw_curves([overfitting(claims=(README,))])
    levels = [line for line in figure.axes[0].get_lines() if list(line.get_ydata()) == [1.47, 1.47]]
    assert len(levels) == 1
    assert "published 1.47" in words(figure)
    assert "published: a README" in words(figure)
    low, high = figure.axes[0].get_ylim()
    assert low < 1.47 < high


def test_a_published_number_of_a_step_is_a_diamond_there():
    claim = Claim(metric="valid_loss", value=1.8, step=800, source="a table")
    figure = draw_curves([overfitting(claims=(claim,))])
    (diamond,) = markers(figure.axes[0], "D")
    assert (diamond.get_xdata()[0], diamond.get_ydata()[0]) == (800, 1.8)
    assert "published 1.8" in words(figure)


def test_a_published_number_of_a_later_step_shows_how_far_there_is_to_go():
    claims = tuple(
        Claim(metric="valid_loss", value=value, step=step, source="a table")
        for step, value in ((5000, 0.9), (9000, 0.8))
    )
    figure = draw_curves([overfitting(claims=claims)])
    assert "published 0.8 at step 9,000" in words(figure)
    assert not markers(figure.axes[0], "D")


def test_a_published_turn_is_a_dotted_upright_line():
    claim = Claim(metric="turning_step", value=700, source="a plot")
    figure = draw_curves([overfitting(claims=(claim,))])
    assert "published turn at step 700" in words(figure)
    assert [line for line in figure.axes[0].get_lines() if list(line.get_xdata()) == [700, 700]]


def test_claims_of_other_things_than_losses_are_not_drawn():
    figure = draw_curves([overfitting(claims=(Claim(metric="parameters", value=2, source="x"),))])
    assert not [text for text in words(figure) if "published" in text]


def test_a_norm_that_spans_more_than_twentyfold_is_drawn_on_a_log_axis():
    assert draw_curves([overfitting(norm=lambda step: 1.0 + step)]).axes[2].get_yscale() == "log"
    assert draw_curves([overfitting(norm=lambda step: 1.0 + step / 100)]).axes[2].get_yscale() == "linear"


def test_several_runs_have_their_own_colour_and_their_name_at_the_end():
    figure = draw_curves([overfitting(f"run-{number}") for number in range(8)])
    labels = [text for text in figure.axes[0].texts if "run-" in text.get_text()]
    assert [text.get_text() for text in labels] == [f"1.5000  run-{number}" for number in range(8)]
    assert [text.get_color() for text in labels] == list(RUN_COLOURS)


def test_labels_at_the_right_never_overlap_and_stay_in_the_picture():
    figure = draw_curves([overfitting(f"a-run-with-a-rather-long-name-{number}") for number in range(8)])
    figure.canvas.draw()
    boxes = [
        text.get_window_extent()
        for text in figure.axes[0].texts
        if "number" in text.get_text() or "run" in text.get_text()
    ]
    boxes.sort(key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 for below, above in zip(boxes, boxes[1:], strict=False))
    assert max(box.x1 for box in boxes) <= 1200


def test_named_marks_do_not_cover_one_another():
    claims = (README, Claim(metric="train_loss", value=1.05, step=900, source="x"))
    figure = draw_curves([overfitting(claims=claims, resumed=300)])
    figure.canvas.draw()
    inside = [text.get_window_extent() for text in figure.axes[0].texts if "  " not in text.get_text()]
    assert len(inside) >= 5
    for index, box in enumerate(inside):
        assert not any(box.overlaps(other) for other in inside[index + 1 :])


def test_a_run_without_evaluations_shows_its_training():
    lines = [
        {"segment": 0, "step": step, "tokens": step, "kind": "train", "loss": 3.0 - step / 100} for step in range(100)
    ]
    figure = draw_curves([read_curves("plain", lines)])
    assert len(figure.axes) == 1
    assert any("training batches" in text for text in words(figure))
    assert not [text for text in words(figure) if "validation" in text]


@pytest.mark.parametrize("kind", ["train", "evaluation"])
def test_one_point_is_visible(kind):
    line = {"segment": 0, "step": 10, "tokens": 10, "kind": kind, "loss": 3.0, "valid_loss": 3.0, "train_loss": 3.0}
    figure = draw_curves([read_curves("young", [line])])
    assert [line for line in figure.axes[0].get_lines() if line.get_marker() == "o" and line.get_markersize() > 0]
    low, high = figure.axes[0].get_ylim()
    assert low < 3.0 < high


def test_losses_that_are_not_finite_are_crosses_and_a_gap():
    lines = [
        {"segment": 0, "step": step, "tokens": step, "kind": "train", "loss": None if 40 <= step < 45 else 2.0}
        for step in range(100)
    ]
    figure = draw_curves([read_curves("broken", lines)])
    (crosses,) = [line for line in markers(figure.axes[0], "x") if len(line.get_xdata())]
    assert list(crosses.get_xdata()) == [40, 41, 42, 43, 44]
    assert "loss or gradient not finite" in words(figure)
    assert all(
        np.isnan(line.get_ydata()[40:45]).all() for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 100
    )


def test_a_steep_start_leaves_the_panel_and_is_said_to():
    figure = draw_curves([overfitting(steps=2000)])
    assert figure.axes[0].get_ylim()[1] < 8.0
    tall = [
        {"segment": 0, "step": step, "tokens": step, "kind": "train", "loss": 2.0 + 8.0 * (step == 0)}
        for step in range(100)
    ]
    steep = draw_curves([read_curves("steep", tall)])
    assert steep.axes[0].get_ylim()[1] < 3.0
    assert "↑ up to 10.00" in words(steep)


def test_a_sampled_validation_is_named_so_and_the_whole_split_stands_beside_it():
    evaluation = {"segment": 0, "kind": "evaluation", "train_loss": 2.0, "whole": False}
    lines = [
        {**evaluation, "step": step, "tokens": 64 * step, "valid_loss": 3.0 - step / 100} for step in range(0, 100, 10)
    ]
    summary = {"best": {"step": 90, "loss": 2.2}, "final": {"step": 90, "loss": 2.2}}
    data = read_curves("both", lines, summary=summary)
    figure = draw_curves([data])
    (square,) = markers(figure.axes[0], "s")
    assert (square.get_xdata()[0], square.get_ydata()[0]) == (90, 2.2)
    found = words(figure)
    assert {"2.1000  validation, a sample", "2.2000  whole validation split"} <= set(found)
    assert "best of the sample 2.1000 at step 90" in found
    assert any("best validation loss 2.2000 nats a token at step 90" in text for text in found)
    several = words(draw_curves([data, read_curves("young", lines)]))
    assert {"2.2000  both", "2.1000  young (a sample)"} <= set(several)


def curve(name, losses, tokenizer="", bits=None, rate=1e-3, final=None, valid_text="", source=""):
    """Evaluations of those losses every 10 steps; of a sample where `final`, the loss of the whole split, is given."""
    lines = []
    for place, loss in enumerate(losses):
        line = {"segment": 0, "step": 10 * place, "tokens": 640 * place}
        lines.append({**line, "kind": "train", "loss": loss, "learning_rate": rate, "gradient_norm": 1.0})
        scores = {"valid_loss": loss, "train_loss": loss, "whole": final is None}
        scores |= {} if bits is None else {"valid_bits_per_byte": bits * loss}
        lines.append({**line, "kind": "evaluation", **scores})
    summary = None
    if final is not None:
        best = {"step": 10 * losses.index(min(losses)), "loss": final}
        best |= {} if bits is None else {"bits_per_byte": bits * final}
        summary = {"best": best, "final": {**best, "step": 10 * (len(losses) - 1), "loss": final + 0.1}}
    return read_curves(name, lines, tokenizer=tokenizer, summary=summary, valid_text=valid_text, source=source)


def leaders(figure):
    """Of the first panel's labels at the right: their words, and where in data the line to each begins."""
    axes = figure.axes[0]
    lines = [line for line in axes.get_lines() if line.get_transform() == axes.transAxes]
    texts = [text for text in axes.texts if text.get_transform() == axes.transAxes]
    to_data = axes.transAxes + axes.transData.inverted()
    starts = [to_data.transform((line.get_xdata()[0], line.get_ydata()[0])) for line in lines]
    return {text.get_text(): tuple(start) for text, start in zip(texts, starts, strict=True)}


def test_of_several_runs_a_label_leads_to_the_mark_whose_value_it_quotes():
    turned = curve("turned", [3.0, 2.0, 2.2, 2.6])
    sampled = curve("sampled", [3.1, 2.4, 2.1, 2.3], final=1.9)
    found = leaders(draw_curves([turned, sampled]))
    assert found["2.0000  turned"] == pytest.approx((10, 2.0), abs=0.02)
    assert found["1.9000  sampled"] == pytest.approx((20, 1.9), abs=0.02)


def test_different_tokenizers_share_an_axis_in_bits_per_byte_and_it_is_said():
    figure = draw_curves([curve("a", [3.0, 2.0], "x", bits=1.0), curve("b", [6.0, 5.0], "y", bits=0.5, final=4.0)])
    axes = figure.axes[0]
    assert "bits per byte (the tokenizers differ" in axes._left_title.get_text()
    bold = [line.get_ydata().tolist() for line in axes.get_lines() if line.get_linewidth() == 2.4]
    assert bold == [[3.0, 2.0], [3.0, 2.5]]
    assert {"2.0000  a", "2.0000  b"} <= set(words(figure))
    alike = draw_curves([curve("a", [3.0, 2.0], "x", bits=1.0), curve("b", [6.0, 5.0], "x", bits=0.5)])
    assert alike.axes[0]._left_title.get_text() == "loss, nats a token"
    unknown = draw_curves([curve("a", [3.0, 2.0], "x"), curve("b", [6.0, 5.0], "y", bits=0.5)])
    assert "can't be compared" in unknown.axes[0]._left_title.get_text()
    imported = draw_curves([curve("a", [3.0, 2.0], "x", bits=1.0), curve("log", [6.0, 5.0])])
    assert "unknown for an imported log" in imported.axes[0]._left_title.get_text()


@pytest.mark.parametrize(("second", "scale"), [(1e-4, "log"), (8e-4, "linear")])
def test_a_rate_far_below_another_is_drawn_on_a_log_axis_so_that_it_is_no_flat_line(second, scale):
    figure = draw_curves(
        [curve("a", [3.0, 2.0], rate=1e-2 if scale == "log" else 1e-3), curve("b", [3.0, 2.0], rate=second)]
    )
    rates = next(axes for axes in figure.axes if axes._left_title.get_text().startswith("learning rate"))
    assert rates.get_yscale() == scale
    low, high = rates.get_ylim()
    assert low < second < high and ("logarithmic" in rates._left_title.get_text()) == (scale == "log")


@pytest.mark.parametrize(
    ("tokenizers", "scale"), [("xx", "loss, nats a token"), ("xy", "validation loss, bits per byte")]
)
def test_runs_scored_on_different_texts_are_said_not_to_be_comparable(tokenizers, scale):
    one, other = tokenizers
    curves = [
        curve("a", [3.0, 2.0], one, bits=1.0, valid_text="p"),
        curve("b", [3.0, 2.5], other, bits=1.0, valid_text="q"),
    ]
    title = draw_curves(curves).axes[0]._left_title.get_text()
    assert title.startswith(f"{scale} (the validation texts differ") and "lmlab compare --on TEXT" in title


def test_a_log_axis_of_rates_shows_the_whole_decay_of_the_smallest():
    rates = [1e-4 * (1 - step / 100) for step in range(0, 100, 2)]
    lines = [
        {
            "segment": 0,
            "step": step,
            "tokens": step,
            "kind": "train",
            "loss": 2.0,
            "learning_rate": rate,
            "gradient_norm": 1.0,
        }
        for step, rate in enumerate(rates)
    ]
    figure = draw_curves([curve("high", [3.0, 2.0], rate=1e-2), read_curves("low", lines)])
    axes = next(axes for axes in figure.axes if "logarithmic" in axes._left_title.get_text())
    assert axes.get_ylim()[0] < min(rates)


def test_of_an_imported_log_nothing_is_said_of_dropout():
    assert any("no dropout" in text for text in words(draw_curves([curve("own", [3.0, 2.0])])))
    imported = words(draw_curves([curve("log", [3.0, 2.0], source="log.csv")]))
    assert "2.0000  training text" in imported and not any("dropout" in text for text in imported)
