"""Each form of log, from a few lines that were written for these tests."""

import math

import pytest

from lmlab import LabError
from lmlab.exchange import FORMS, read_log

NANOGPT = """\
tokens per iteration will be: 16,384
number of parameters: 10.65M
step 0: train loss 4.2000, val loss 4.2500
iter 0: loss 4.2100, time 900.00ms, mfu -100.00%
iter 10: loss 3.1000, time 50.00ms, mfu 1.00%
iter 20: loss 2.9000, time 60.00ms, mfu 1.00%
step 25: train loss 2.7000, val loss 2.8000
saving checkpoint to out
iter 30: loss 2.6000, time 40.00ms, mfu 1.00%
"""
LLMC = (
    "s:0 tel:10.9\ns:0 trl:10.8 lr:0.000001 norm:15.3\ns:1 trl:10.5 lr:0.000002 norm:nan\ns:2 eval:0.25\ns:2 tel:10.1\n"
)
MODDED = """\
import torch
step:0/6 val_loss:10.0 train_time:300ms step_avg:nanms
step:1/6 train_loss:9.9 train_time:1300ms step_avg:nanms
step:2/6 train_loss:9.0 train_time:1500ms step_avg:nanms
step:3/6 train_loss:8.0 train_time:100ms step_avg:nanms
step:4/6 train_loss:7.0 train_time:200ms step_avg:100.00ms
step:4/6 val_loss:7.1 train_time:200ms step_avg:100.00ms
"""
BRACKETED = """\
[    0/300]   0.0%   train=3.2   val=3.3   elapsed=2s     ETA=0s      best!
[  200/300]  66.7%   train=2.5   val=2.6   elapsed=40s    ETA=20s
[  299/300]   train=2.4   val=2.7   elapsed=61s
"""
SCRATCH = (
    "Ep 1 (Step 000000): Train loss 9.8, Val loss 9.9\nEp 1 (Step 000005): Train loss 8.0, Val loss 8.3\nEvery effort\n"
)


def read_one(text, form="auto"):
    (log,) = read_log(text, form)
    return log


def points(log, kind, *names):
    return [tuple(getattr(point, name) for name in ("step", *names)) for point in log.points if point.kind == kind]


def test_nanogpt():
    log = read_one(NANOGPT)
    assert (log.form, log.step_tokens, log.parameters, log.whole) == ("nanogpt", 16384, 10_650_000, False)
    assert points(log, "evaluation", "train_loss", "loss") == [(0, 4.2, 4.25), (25, 2.7, 2.8)]
    # The loss that iteration 10 prints is that of the eleventh update.
    assert points(log, "train", "loss") == [(1, 4.21), (11, 3.1), (21, 2.9), (31, 2.6)]
    # The first iteration has an evaluation in its time, so the next one's stands for it.
    assert [seconds for _, seconds in points(log, "train", "seconds")] == pytest.approx([0.05, 0.55, 1.15, 1.63])
    assert points(log, "evaluation", "seconds")[1][1] == pytest.approx(1.15 + 4 * 0.06)


def test_llmc():
    log = read_one(LLMC)
    assert (log.form, log.whole, log.clock, log.step_tokens) == ("llmc", None, "", None)
    assert points(log, "evaluation", "loss") == [(0, 10.9), (2, 10.1)]
    assert points(log, "train", "loss", "learning_rate")[0] == (1, 10.8, 1e-6)
    assert math.isnan(points(log, "train", "gradient_norm")[1][1])
    assert all(point.seconds is None for point in log.points)


def test_modded_nanogpt_and_a_clock_that_begins_anew():
    log = read_one(MODDED)
    assert (log.form, log.planned_steps) == ("modded-nanogpt", 6)
    assert points(log, "evaluation", "loss") == [(0, 10.0), (4, 7.1)]
    assert [seconds for _, seconds in points(log, "train", "seconds")] == pytest.approx([1.3, 1.5, 1.6, 1.7])


def test_bracketed():
    log = read_one(BRACKETED)
    assert (log.form, log.planned_steps) == ("bracketed", 300)
    assert points(log, "evaluation", "loss", "train_loss", "seconds")[-1] == (299, 2.7, 2.4, 61.0)


def test_llms_from_scratch_counts_updates_from_minus_one():
    log = read_one(SCRATCH)
    assert log.form == "llms-from-scratch"
    assert points(log, "evaluation", "loss", "train_loss") == [(1, 9.9, 9.8), (6, 8.3, 8.0)]


def test_a_table_of_several_runs():
    text = "run,epoch,total_epochs,train_loss,val_loss,elapsed_s,best\nA,0,9,3.0,3.1,1,yes\nA,9,9,2.0,2.1,5,yes\nb,0,4,,4.0,,no\n"
    one, other = read_log(text)
    assert (one.label, one.planned_steps, other.label, other.planned_steps) == ("A", 9, "b", 4)
    assert points(one, "evaluation", "loss", "train_loss", "seconds") == [(0, 3.1, 3.0, 1.0), (9, 2.1, 2.0, 5.0)]
    assert points(other, "evaluation", "loss", "train_loss", "seconds") == [(0, 4.0, None, None)]
    assert any("epoch" in note for note in one.notes)


def test_a_table_whose_training_losses_stand_alone_has_batches():
    log = read_one("step;loss;lr;val_loss;tokens\n1;3.0;0.1;;64\n2;2.5;0.1;2.7;128\n3;nan;0.1;;192\n")
    assert points(log, "evaluation", "loss", "train_loss", "tokens") == [(2, 2.7, None, 128)]
    assert points(log, "train", "loss", "learning_rate")[:2] == [(1, 3.0, 0.1), (2, 2.5, 0.1)]
    assert math.isnan(log.points[-1].loss)


ALIGNED = {
    "one space a gap": "step train_loss val_loss\n0 4.2 4.3\n100 2.5 2.6\n",
    "names of two words": "a run\n\n step  train loss  val loss\n    0        4.20      4.30\n  100        2.50      2.60\n",
    "short names": "step   train     val\n----   -----   -----\n   0    4.20    4.30\n 100    2.50    2.60\n",
    "a number before each row": "   step  train_loss  val_loss\n0     0        4.20      4.30\n1   100        2.50      2.60\n",
    "a comment for a head": "# step train_loss val_loss\n0 4.2 4.3\n100 2.5 2.6\n",
    "bars": "| step | train loss | val loss |\n|---|---|---|\n| 0 | 4.2 | 4.3 |\n| 100 | 2.5 | 2.6 |\n",
}


@pytest.mark.parametrize("text", ALIGNED.values(), ids=list(ALIGNED))
def test_a_table_that_spaces_or_bars_align(text):
    log = read_one(text)
    assert log.form == "csv"
    assert points(log, "evaluation", "loss", "train_loss") == [(0, 4.3, 4.2), (100, 2.6, 2.5)]


def test_a_gap_in_an_aligned_table_is_a_value_that_is_not_there():
    text = "  step    loss      lr  val_loss\n    10   4.000  0.0010\n    20   3.500             3.700\n    30   3.250  0.0005\n"
    log = read_one(text)
    assert points(log, "evaluation", "loss") == [(20, 3.7)]
    assert points(log, "train", "loss", "learning_rate") == [(10, 4.0, 0.001), (20, 3.5, None), (30, 3.25, 0.0005)]


def test_a_table_of_epochs_with_perplexity_accuracy_and_the_time_of_each():
    text = "Epoch  Train PPL  Val. PPL  Val. Acc   Time\n    1      100.0      90.0     25.0%  20.0s\n"
    text += "    2       80.0      85.0     30.0%  21.0s\n"
    log = read_one(text)
    first, second = (point for point in log.points if point.kind == "evaluation")
    assert (first.loss, first.train_loss) == pytest.approx((math.log(90), math.log(100)))
    assert (second.accuracy, second.seconds) == (0.3, 41.0) and log.epochs


EPOCH_LOGS = {
    "one line": """
        Epoch 1/50: train loss 4.80 ppl 121.5 acc 20.0% | val loss 4.50 ppl 90.0 acc 25.0% | 21.0s
        Epoch 2/50: train loss 4.40 ppl 81.5 acc 24.0% | val loss 4.20 ppl 66.7 acc 27.5% | 22.5s
    """,
    "labels on both sides": """
        Epoch [1/50] Train Loss: 4.80, Train Acc: 0.20, Val Loss: 4.50, Val Acc: 0.25, Time: 21.0s
        Epoch [2/50] Train Loss: 4.40, Train Acc: 0.24, Val Loss: 4.20, Val Acc: 0.275, Time: 22.5s
    """,
    "three lines": """
        Epoch: 01 | Time: 0m 21s
        \tTrain Loss: 4.80 | Train Acc: 20.00%
        \t Val. Loss: 4.50 |  Val. Acc: 25.00%
        Epoch: 02 | Time: 0m 22.5s
        \tTrain Loss: 4.40 | Train Acc: 24.00%
        \t Val. Loss: 4.20 |  Val. Acc: 27.50%
    """,
    "keras": """
        Epoch 1/50
        1563/1563 [==========] - 21s 14ms/step - loss: 4.8000 - accuracy: 0.2000 - val_loss: 4.5000 - val_accuracy: 0.2500
        Epoch 2/50
        1563/1563 [==========] - 22.5s 14ms/step - loss: 4.4000 - accuracy: 0.2400 - val_loss: 4.2000 - val_accuracy: 0.2750
    """,
    "from nought": """
        epoch=0 train_loss=4.80 train_acc=0.20 val_loss=4.50 val_acc=0.25 time=21.0
        epoch=1 train_loss=4.40 train_acc=0.24 val_loss=4.20 val_acc=0.275 time=22.5
    """,
}


@pytest.mark.parametrize("text", EPOCH_LOGS.values(), ids=list(EPOCH_LOGS))
def test_logs_of_epochs(text):
    log = read_one(text)
    assert log.form == "epochs" and log.epochs and log.planned_steps in (50, None) and log.notes == ()
    names = ("loss", "train_loss", "accuracy", "train_accuracy", "seconds")
    assert points(log, "evaluation", *names) == [
        (1, 4.5, 4.8, pytest.approx(0.25), pytest.approx(0.2), 21.0),
        (2, 4.2, 4.4, pytest.approx(0.275), pytest.approx(0.24), 43.5),
    ]


def test_a_perplexity_that_is_not_e_to_the_loss_is_told_and_one_alone_gives_the_loss():
    log = read_one("Epoch 1: val loss 2.0 ppl 4.0\nEpoch 2: val loss 1.9 ppl 3.7\n")
    assert any("may not be nats" in note for note in log.notes)
    word_language_model = """
        | epoch   1 |   200/ 2983 batches | lr 20.00 | ms/batch 14.30 | loss  7.63 | ppl  2051.14
        | end of epoch   1 | time: 27.30s | valid loss  5.78 | valid ppl   323.16
        | End of training | test loss  5.20 | test ppl   181.27
    """
    log = read_one(word_language_model)
    assert points(log, "evaluation", "loss", "train_loss", "seconds") == [(1, 5.78, 7.63, 27.3)] and log.notes == ()
    assert points(read_one("Epoch 3: validation perplexity 40.9"), "evaluation", "loss") == [(3, math.log(40.9))]


def test_a_table_that_leaves_epochs_out_counts_epochs_and_adds_up_the_seconds_of_each():
    text = "epoch,val_ppl,val_acc,seconds\n1,120.3,16.2,21.6\n2,80.3,21.2,21.6\n10,40.93,31.3,24.0\n"
    (log,) = read_log(text)
    assert log.epochs and not log.notes
    assert [point.seconds for point in log.points] == pytest.approx([21.6, 43.2, 43.2 + 8 * 24.0])


def test_epochs_that_are_steps_keep_their_clock():
    text = "epoch,train_loss,val_loss,elapsed_s\n0,3.3,3.3,12\n200,2.3,2.2,141\n400,2.2,2.1,292\n"
    (log,) = read_log(text)
    assert not log.epochs and [point.seconds for point in log.points] == [12, 141, 292]


def test_steps_that_were_trained_again_stand_once():
    again = "s:0 tel:5\ns:0 trl:5\ns:1 trl:4\ns:2 tel:3.5\ns:2 trl:3\ns:1 trl:4.5\ns:2 trl:3.4\ns:3 tel:3.0\n"
    log = read_one(again)
    assert points(log, "train", "loss", "segment") == [(1, 5.0, 0), (2, 4.5, 1), (3, 3.4, 1)]
    assert points(log, "evaluation", "loss", "segment") == [(0, 5.0, 0), (3, 3.0, 1)]
    assert log.notes == ("the steps go back once: 3 points that were trained again are left out",)


def test_a_clock_that_a_restart_began_anew_goes_on():
    text = (
        "[ 0/9] train=3 val=3 elapsed=0s\n[ 4/9] train=2 val=2 elapsed=40s\n[ 6/9] train=2 val=2 elapsed=60s\n"
        "[ 4/9] train=2 val=2 elapsed=1s\n[ 8/9] train=1 val=1 elapsed=41s\n"
    )
    assert points(read_one(text), "evaluation", "seconds") == [(0, 0.0), (4, 41.0), (8, 81.0)]


def test_colours_and_other_lines_are_passed_over():
    assert read_one("\x1b[32mhello\x1b[0m\n\x1b[1ms:0 tel:3.5\x1b[0m\n").points[0].loss == 3.5


@pytest.mark.parametrize(
    ("text", "form", "said"),
    [
        ("", "auto", "no line of training"),
        ("hello, world\n", "auto", "no line of training"),
        (LLMC, "nanogpt", r"expected nanoGPT's output \(nanogpt\)"),
        (LLMC, "wandb", "no form 'wandb' of logs: expected auto, nanogpt"),
        ("a,b\n1,2\n", "csv", "no table of a training"),
        ("step,loss\nx,y\n", "csv", "no row"),
        ("", "csv", "got nothing"),
    ],
)
def test_what_is_no_log_is_told(text, form, said):
    with pytest.raises(LabError, match=said):
        read_log(text, form)


def test_the_forms_are_those_of_the_help():
    from pathlib import Path

    import lmlab

    text = (Path(lmlab.__file__).parent / "cli" / "import.py").read_text(encoding="utf-8")
    assert f"Forms: {', '.join(FORMS)}." in text
