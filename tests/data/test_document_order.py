"""The order `documents`: an epoch is the documents, whole, in another order, cut into windows whose order is another, too."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.data.document_order import DocumentStream
from lmlab.data.fresh import sequences_an_epoch, training_batch, training_pieces, training_spans, training_split
from lmlab.data.preparation import prepare
from lmlab.data.usage import Use, used_by
from lmlab.recipe import Data, Recipe, check, override
from tests.data.support import write_stories

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=15)
SEEDS = st.integers(0, 2**63 - 1)


def stream_of(lengths):
    """Documents whose tokens are all different: token n is number n."""
    starts = np.cumsum([0, *lengths])
    return DocumentStream(np.arange(starts[-1], dtype=np.uint32), starts)


def windows_of_epoch(stream, seed, context, epoch):
    """The windows of an epoch in the order of its joined text: each begins with the last token of the one before it."""
    size = (len(stream) - 1) // context
    inputs, targets = stream.batch_at(seed, context, epoch * size, size)
    following = {int(row[0]): np.append(row, target[-1]) for row, target in zip(inputs, targets, strict=True)}
    begins = set(following) - {int(row[-1]) for row in following.values()}
    assert len(begins) == 1, "the windows of an epoch form one chain"
    found, begin = [], begins.pop()
    while begin in following:
        found.append(following.pop(begin))
        begin = int(found[-1][-1])
    assert not following
    return found


@given(LENGTHS, st.integers(1, 9), SEEDS, st.integers(0, 10**6))
def test_an_epoch_joins_every_document_once_and_whole(lengths, context, seed, epoch):
    stream = stream_of(lengths)
    assume(len(stream) > context)
    windows = windows_of_epoch(stream, seed, context, epoch)
    joined = [int(windows[0][0]), *(int(token) for window in windows for token in window[1:])]
    assert len(joined) == (len(stream) - 1) // context * context + 1
    # the joined text is whole documents, but for the last one, which the end may cut
    starts = np.cumsum([0, *lengths]).tolist()
    pieces, place = [], 0
    while place < len(joined):
        document = starts.index(joined[place])
        piece = list(range(starts[document], starts[document + 1]))[: len(joined) - place]
        assert joined[place : place + len(piece)] == piece
        pieces.append(document)
        place += len(piece)
    assert len(set(pieces)) == len(pieces)


@given(LENGTHS, st.integers(1, 9), SEEDS, st.lists(st.integers(1, 7), min_size=1, max_size=12))
def test_a_batch_does_not_depend_on_how_the_sequences_are_divided(lengths, context, seed, sizes):
    stream = stream_of(lengths)
    assume(len(stream) > context)
    whole = stream.batch_at(seed, context, 3, sum(sizes))
    place, parts = 3, []
    for size in sizes:
        parts.append(stream_of(lengths).batch_at(seed, context, place, size))
        place += size
    for side in (0, 1):
        assert np.array_equal(np.concatenate([part[side] for part in parts]), whole[side])


@given(LENGTHS, st.integers(1, 9), SEEDS)
def test_the_pieces_are_the_batch(lengths, context, seed):
    stream = stream_of(lengths)
    assume(len(stream) > context)
    inputs, targets = stream.batch_at(seed, context, 0, 6)
    pieces = stream.pieces(seed, context, 0, 6)
    longest = stream.longest_pieces(seed, context, 0, 6)
    for row in range(6):
        held = [range(int(first), int(end)) for number, first, end in zip(*pieces, strict=True) if number == row]
        assert [token for piece in held for token in piece] == [*inputs[row], targets[row][-1]]
        assert max(map(len, held)) == longest[1][row] - longest[0][row]
        assert range(int(longest[0][row]), int(longest[1][row])) in held


def test_epochs_and_seeds_differ():
    stream = stream_of([7] * 100)
    orders = {
        (seed, epoch): tuple(window[0] for window in windows_of_epoch(stream, seed, 7, epoch))
        for seed in (1, 2)
        for epoch in (0, 1, 2)
    }
    assert len(set(orders.values())) == 6


def test_documents_are_shuffled_evenly():
    """Each of 6 documents is at each place of an epoch about equally often: chi-square with 25 degrees of freedom."""
    stream, counts = stream_of([4] * 6), np.zeros((6, 6))
    for epoch in range(600):
        joined = windows_of_epoch(stream, 5, 1, epoch)
        order = [int(window[0]) // 4 for window in joined][::4]
        counts[np.arange(6), order] += 1
    assert ((counts - 100) ** 2 / 100).sum() < 25 + 4 * np.sqrt(2 * 25)


def test_the_order_never_changes():
    # As first released: another order would break every resume of such a run.
    inputs, _ = stream_of([2, 3, 4, 1]).batch_at(1, 3, 0, 6)
    assert inputs.tolist() == GOLDEN


GOLDEN = [[4, 9, 0], [5, 6, 7], [8, 2, 3], [4, 5, 6], [7, 8, 0], [9, 2, 3]]


def test_memory_is_of_the_documents_and_not_of_the_tokens():
    import tracemalloc

    starts = np.arange(0, 5001 * 1_000_000, 1_000_000)
    # 5,000,000,000 tokens that no memory holds: zeros that are one number
    tokens = np.broadcast_to(np.uint16(7), (int(starts[-1]),))
    stream = DocumentStream(tokens, starts)
    tracemalloc.start()
    stream.batch_at(3, 1024, 4_000_000, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_split_shorter_than_a_window_is_refused():
    with pytest.raises(LabError, match="the split has 5 tokens, but a window"):
        stream_of([5]).batch_at(1, 5, 0, 1)


class TestOfADataSet:
    @pytest.fixture
    def dataset(self, tmp_path):
        write_stories(tmp_path / "stories.txt", 80)
        return prepare(Data(corpus=str(tmp_path / "stories.txt"), tokenizer="bytes"), tmp_path / "cache")

    @pytest.fixture
    def recipe(self):
        return override(Recipe(), {"data.order": "documents", "model.context": "32"})

    def test_a_recipe_reads_it(self, dataset, recipe):
        split = training_split(recipe, dataset)
        size = sequences_an_epoch(split, "documents", 32)
        assert size == (len(dataset.tokens("train")) - 1) // 32
        inputs, targets = training_batch(split, "documents", 7, 32, 0, size)
        assert (inputs[:, 1:] == targets[:, :-1]).all()
        end = dataset.tokenizer.end_of_text
        assert abs(int((inputs == end).sum()) - int((dataset.tokens("train") == end).sum())) <= 2
        firsts, ends = training_spans(split, "documents", 7, 32, 0, size)
        assert ((ends - firsts >= 1) & (ends - firsts <= 33)).all()
        firsts, ends = training_pieces(split, "documents", 7, 32, 0, size)
        assert (ends - firsts).sum() == size * 33

    def test_what_it_used_is_not_known_and_said(self, dataset, recipe):
        with pytest.raises(LabError, match="data.fresh isn't possible with data.order documents"):
            check(override(recipe, {"data.fresh": "yes"}))
        with pytest.raises(LabError, match="in data.order documents, whose tokens are unknown"):
            used_by(Use(data=dataset.ancestry, seed=1, order="documents", context=32, cursor=(0, 10)))

    def test_windows_of_documents_have_an_order_of_their_own(self, recipe):
        with pytest.raises(LabError, match="data.order documents cuts the text as one stream: expected shuffle"):
            check(override(recipe, {"data.windows": "documents"}))
