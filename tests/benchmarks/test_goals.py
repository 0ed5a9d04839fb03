"""Goals, the command lines that they become, and which runs count."""

import math

import pytest
import torch
from torch.nn import functional as F

from benchmarks.goals import read_goals
from benchmarks.lmlab_command import as_flag
from benchmarks.loss import Side, as_comparisons, as_measurements, missed, with_steps
from benchmarks.nanogpt_command import Training
from benchmarks.nanogpt_score import whole_split_loss
from benchmarks.step_profile import SECTIONS, of_a_step, section_of
from benchmarks.targets import TARGETS
from lmlab import LabError
from lmlab.recipe import check, load_recipe, override
from lmlab.recipe.override import parse


def test_the_file_has_the_goals_of_the_targets_and_their_recipes_can_be():
    goals = read_goals("shakespeare")
    assert {target.case for target in TARGETS if target.part == "loss"} <= {goal.case for goal in goals}
    for goal in goals:
        for variant in goal.variants:
            settings = {"schedule.steps": None, **variant.overrides, "train.steps": variant.steps}
            check(override(load_recipe(variant.recipe), settings))


def test_a_goal_has_a_loss_or_a_time_and_not_both(tmp_path):
    (tmp_path / "goals.toml").write_text("[[text]]\nloss = 1.0\nminutes = 3\n")
    with pytest.raises(LabError, match="either loss or minutes"):
        read_goals("text", tmp_path / "goals.toml")
    with pytest.raises(LabError, match="expected one of text"):
        read_goals("other", tmp_path / "goals.toml")


def test_only_a_goal_in_minutes_takes_another_length():
    loss, minutes = read_goals("shakespeare")[0], read_goals("shakespeare")[-1]
    assert [variant.steps for variant in with_steps(minutes, 77).variants] == [77]
    with pytest.raises(LabError, match="goals in minutes"):
        with_steps(loss, 77)


def test_nanogpt_s_schedule_spans_its_training_and_its_last_flag_wins(tmp_path):
    flags = Training(learning_rate=3e-3, max_iters=700, seed=2).flags(tmp_path)
    last = dict(flag.removeprefix("--").split("=") for flag in flags if flag.startswith("--"))
    assert (last["max_iters"], last["lr_decay_iters"], last["eval_interval"]) == ("700", "700", "700")
    assert float(last["min_lr"]) == pytest.approx(3e-4) and last["warmup_iters"] == "100"
    assert (last["block_size"], last["n_embd"], last["compile"]) == ("64", "128", "False")


@pytest.mark.parametrize(
    ("value", "annotation"), [((2, 3), tuple[int, ...]), (True, bool), (0.02, float), (None, int | None), (7, int)]
)
def test_a_setting_on_the_command_line_is_read_back_as_it_was(value, annotation):
    assert parse(as_flag(value), annotation) == value


def test_runs_that_miss_their_goal_count_in_no_figure():
    loss, minutes = read_goals("shakespeare")[0], read_goals("shakespeare")[-1]
    assert missed(loss, 1.0, loss.loss) is None and "1.9000" in missed(loss, 1.0, 1.9)
    assert missed(loss, 1.0, math.nan) is not None
    assert missed(minutes, 600.0, 9.0) is None and "more than 10 min" in missed(minutes, 601.0, 1.0)


def test_only_seeds_with_which_both_reached_the_goal_are_compared():
    ours, theirs = Side("lmlab", {}), Side("nanoGPT", {})
    for seed, seconds in ((1, 10.0), (2, 20.0)):
        ours.add(seed, {"seconds": seconds, "CPU seconds": None, "loss": 1.5})
    for seed, seconds in ((2, 100.0), (3, 90.0)):
        theirs.add(seed, {"seconds": seconds, "CPU seconds": None, "loss": 1.5})
    (entry,) = as_comparisons("case", ours, theirs)
    assert (entry.quantity, entry.samples) == ("seconds", (5.0,))
    assert {one.quantity: one.details["seeds"] for one in as_measurements("case", ours)} == {
        "seconds": [1, 2],
        "loss": [1, 2],
    }


@pytest.mark.parametrize("tokens", [9, 16, 17, 18, 400])
def test_a_checkpoint_of_nanogpt_is_scored_on_every_token_once(tokens):
    context, vocabulary = 8, 5
    generator = torch.Generator().manual_seed(tokens)
    text = torch.randint(vocabulary, (tokens,), generator=generator)
    table = torch.randn(vocabulary, vocabulary, generator=generator)

    def bigrams(inputs, targets):
        logits = table[inputs]
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    expected = F.cross_entropy(table[text[:-1]], text[1:]).item()
    assert whole_split_loss(bigrams, text, context) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "callers", "shapes", "section"),
    [
        ("aten::mm", ["aten::linear"], [[768, 128], [128, 384]], "matmuls"),
        ("aten::mm", ["aten::linear"], [[768, 128], [128, 65]], "head and loss"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", [], [], "attention"),
        ("aten::mul_", ["Optimizer.step#AdamW.step"], [[128]], "optimizer"),
        ("aten::_log_softmax", ["aten::cross_entropy_loss"], [[768, 65]], "head and loss"),
        ("aten::gelu", [], [[768, 512]], "element-wise"),
        ("autograd::engine::evaluate_function: GeluBackward0", [], [], "overhead"),
    ],
)
def test_an_operator_s_time_goes_to_the_section_that_it_is_part_of(name, callers, shapes, section):
    assert section_of(name, callers, shapes, vocabulary=65) == section


def test_the_sections_of_a_step_add_up_to_the_whole_step():
    totals = {**dict.fromkeys(SECTIONS, 1.0), "overhead": 0.0}
    found = of_a_step(totals, seconds=8.0, whole=0.4)
    assert sum(found.values()) == pytest.approx(0.4)
    assert found["overhead"] == pytest.approx(0.4 * 3 / 8)
