"""Batches that are read in advance are those that are read when they are needed."""

import threading

import pytest
import torch

from lmlab import LabError
from lmlab.training.ahead import BatchesAhead
from lmlab.training.state import State
from tests.training.test_first_part import step_of


def test_each_batch_is_the_one_at_its_cursor_whatever_was_read_ahead() -> None:
    read: list[tuple[int, bool]] = []

    def batch(cursor: int) -> str:
        read.append((cursor, threading.current_thread() is threading.main_thread()))
        return f"batch {cursor}"

    ahead = BatchesAhead(batch)  # type: ignore[arg-type]
    taken = [ahead.take(cursor, cursor + 4) for cursor in (0, 4, 8, 100, 104)]
    assert taken == [f"batch {cursor}" for cursor in (0, 4, 8, 100, 104)]
    # A rewind to 100 isn't expected: that batch is read at once, those after it in advance again.
    assert [cursor for cursor, waited in read if waited] == [0, 100]


def test_an_error_is_raised_where_its_batch_is_needed_and_not_before() -> None:
    def batch(cursor: int) -> str:
        if cursor == 4:
            raise LabError("the data is damaged")
        return "fine"

    ahead = BatchesAhead(batch)  # type: ignore[arg-type]
    assert ahead.take(0, 4) == "fine"
    with pytest.raises(LabError, match="damaged"):
        ahead.take(4, 8)


def test_a_training_that_reads_ahead_takes_the_same_steps_also_after_a_rewind() -> None:
    trained = []
    for advance in (False, True):
        step = step_of("torch", 6)
        if advance:
            step._ahead = BatchesAhead(step._read)
        state, taken = State(), []
        for cursor in (0, 6, 12, 60, 66):
            state.cursor = cursor
            found = step.take(state)
            taken.append((found.batch, found.loss_sum, found.targets, found.sequences, found.norm))
            state.step += 1
        trained.append((taken, [parameter.detach().clone() for parameter in step.model.parameters()]))
    assert trained[0][0] == trained[1][0]
    assert all(torch.equal(one, other) for one, other in zip(trained[0][1], trained[1][1], strict=True))
