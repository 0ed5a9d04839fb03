"""Windows of documents against a direct implementation, one document and one token at a time, and published counts."""

import lzma
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.data.describe import describe
from lmlab.data.describe_lines import lines
from lmlab.data.extending import extend
from lmlab.data.fresh import sequences_an_epoch, training_batch, training_spans, training_split
from lmlab.data.preparation import prepare
from lmlab.data.ranges import size
from lmlab.data.reading import reading, scored_targets
from lmlab.data.usage import Use, read_use, used_by
from lmlab.data.windows import IGNORED_TARGET, PADDING, WindowedTokens, document_windows, split_windows
from lmlab.recipe import Data, Recipe, check, override
from tests.shared import shared_data

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12)
SPECIALS = {"<pad>": 0, "<unk>": 1, "<bos>": 2, "<eos>": 3}
TEXTS = ["a b c d e", "two words", "B c d e f G h i j k l", "", "a a a a a", "c d e", "x y z a b c d e f g"]


def starts_of(lengths):
    return np.cumsum([0, *lengths])


def slowly_cut(first, end, context, stride):
    """(first, end) of each window of a document of these tokens, directly from the documented rules."""
    if end - first < 2:
        return []
    if end - first <= context + 1:
        return [(first, end)]
    found = []
    while first + context + 1 <= end:
        found.append((first, first + context + 1))
        first += stride
    return found


def slow_windows(lengths, context, stride):
    starts = starts_of(lengths).tolist()
    pairs = zip(starts, starts[1:], strict=False)
    return [window for first, end in pairs for window in slowly_cut(first, end, context, stride)]


@st.composite
def cuts(draw):
    context = draw(st.integers(1, 9))
    return draw(LENGTHS), context, draw(st.integers(1, context))


@given(cuts())
def test_windows_are_those_of_the_rules(cut):
    lengths, context, stride = cut
    windows = document_windows(starts_of(lengths), context, stride)
    expected = slow_windows(lengths, context, stride)
    assert windows.count == len(expected)
    found = windows.spans(np.arange(windows.count))
    assert list(zip(*(side.tolist() for side in found), strict=True)) == expected
    assert windows.targets == sum(end - first - 1 for first, end in expected)
    assert size(windows.held()) == len({token for first, end in expected for token in range(first, end)})


@given(cuts(), st.data())
def test_windows_over_some_tokens_are_those_with_a_target_among_them(cut, data):
    lengths, context, stride = cut
    total = sum(lengths)
    pairs = data.draw(st.lists(st.tuples(st.integers(0, total), st.integers(0, total)), min_size=1, max_size=4))
    firsts, ends = (np.array(side) for side in zip(*pairs, strict=True))
    assume(max(lengths) > 1)
    windows = document_windows(starts_of(lengths), context, stride)
    wanted = [set(range(first, end)) for first, end in pairs]
    slow = [set(range(first + 1, end)) for first, end in slow_windows(lengths, context, stride)]
    expected = [number for number, targets in enumerate(slow) if targets & set().union(*wanted)]
    assert windows.over(firsts, ends).tolist() == expected
    counts = [sum(len(targets & some) for targets in slow) for some in wanted]
    assert windows.targets_in(firsts, ends).tolist() == counts


def test_at_a_stride_of_the_context_each_token_is_a_target_once_at_most():
    windows = slow_windows([200, 3, 64, 65, 128], 63, 63)
    targets = Counter(token for first, end in windows for token in range(first + 1, end))
    assert set(targets.values()) == {1}
    assert document_windows(starts_of([200, 3, 64, 65, 128]), 63).count == len(windows)


@given(st.integers(0, 2**63 - 1), st.integers(1, 9), LENGTHS, st.integers(0, 3))
def test_an_epoch_has_every_window_once_and_ends_with_a_short_batch(seed, batch, lengths, epoch):
    assume(max(lengths) > 1)
    windows = document_windows(starts_of(lengths), 5, 3, batch)
    batches = windows.epoch // batch
    assert windows.epoch % batch == 0 and (batches - 1) * batch < windows.count <= windows.epoch
    starts, ends = windows.at(seed, epoch * windows.epoch, windows.epoch)
    held = list(zip(starts.tolist(), ends.tolist(), strict=True))
    assert sorted(held[: windows.count]) == slow_windows(lengths, 5, 3)
    assert held[windows.count :] == [(0, 0)] * (windows.epoch - windows.count)
    one_by_one = [windows.at(seed, epoch * windows.epoch + number, 1) for number in range(windows.epoch)]
    assert [(int(first[0]), int(end[0])) for first, end in one_by_one] == held


def test_the_order_never_changes():
    # As first released: another order would break every resume of such a run.
    windows = document_windows(starts_of([4] * 5), 3, 3, 2)
    assert (windows.at(1, 0, 12)[0] // 4).tolist() == GOLDEN
    assert windows.at(1, 5, 1)[1].tolist() == [0]


GOLDEN = [0, 4, 3, 2, 1, 0, 0, 1, 2, 3, 4, 0]


def test_a_batch_is_padded_beyond_the_document_and_its_targets_ignored():
    tokens = np.arange(10, 30, dtype=np.uint16)
    split = WindowedTokens(tokens=tokens, windows=document_windows(starts_of([3, 8, 2]), 4, 2, 4))
    inputs, targets = split.batch_of(*split.windows.spans(np.array([0, 1, 2, 3, -1])))
    none = IGNORED_TARGET
    # The last token of a short document is an input too, whose target is ignored.
    assert inputs.tolist() == [[10, 11, 12, 0], [13, 14, 15, 16], [15, 16, 17, 18], [21, 22, 0, 0], [PADDING] * 4]
    assert targets.tolist() == [
        [11, 12, none, none],
        [14, 15, 16, 17],
        [16, 17, 18, 19],
        [22, none, none, none],
        [none] * 4,
    ]
    assert inputs.dtype == targets.dtype == np.int64
    assert inputs.flags["C_CONTIGUOUS"] and targets.flags["C_CONTIGUOUS"]


def words_recipe(folder, **changes):
    settings = {
        "data.corpus": str(folder),
        "data.tokenizer": "words",
        "data.vocabulary": "12",
        "data.lowercase": "true",
        "data.unknown": "replace",
        "data.separator": "\\n",
        "data.minimum_words": "5",
        "data.windows": "documents",
        "data.stride": "3",
        "model.context": "6",
        "train.batch": "4",
    }
    return override(Recipe(), {**settings, **changes})


def write_split(folder, packed=False):
    folder.mkdir()
    for name in ("train", "valid", "test"):
        text = "".join(f" {line} \n \n" for line in (TEXTS if name == "train" else TEXTS[:3])).encode()
        path = folder / f"{name}.txt"
        if packed:
            path.with_name(f"{name}.txt.xz").write_bytes(lzma.compress(text))
        else:
            path.write_bytes(text)
    return folder


def slow_sequences(texts, vocabulary, window, stride):
    """Padded id lists of every sequence, as a loop over lines makes them; PAD 0, UNK 1, BOS 2, EOS 3, then words by count."""
    kept = [text.lower().split() for text in texts if len(text.split()) >= 5]
    counts = Counter(word for words in kept for word in words)
    ids = {word: number for number, (word, _) in enumerate(counts.most_common(vocabulary - 4), 4)}
    found = []
    for words in kept:
        sequence = [2, *(ids.get(word, 1) for word in words), 3]
        if len(sequence) <= window:
            found.append(sequence + [0] * (window - len(sequence)))
        else:
            found += [sequence[at : at + window] for at in range(0, len(sequence) - window + 1, stride)]
    return found


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_lines_is_read_as_a_loop_over_lines_reads_it(tmp_path, packed):
    recipe = words_recipe(write_split(tmp_path / "texts", packed))
    dataset = prepare(recipe.data, tmp_path / "cache")
    expected = slow_sequences(TEXTS, 12, 7, 3)
    split = training_split(recipe, dataset)
    inputs, targets = split.batch_of(*split.windows.spans(np.arange(split.windows.count)))
    whole = np.concatenate([inputs, np.where(targets[:, -1:] < 0, 0, targets[:, -1:])], axis=1)
    assert whole.tolist() == expected
    assert (targets == np.where(whole[:, 1:] == 0, IGNORED_TARGET, whole[:, 1:])).all()
    assert dataset.splits == ("train", "valid", "test")
    assert dataset.facts["corpus"]["short_documents"] == 4 and dataset.facts["corpus"]["empty_documents"] > 7
    assert dataset.begin_of_text == 2
    assert sequences_an_epoch(split, "shuffle", 6) == -(-len(expected) // 4) * 4
    starts, ends = training_spans(split, "shuffle", 1, 6, 0, 4)
    assert (split.batch_of(starts, ends)[0] == training_batch(split, "shuffle", 1, 6, 0, 4)[0]).all()
    held = np.count_nonzero(whole[:, 1:])
    read = reading(recipe, dataset)
    assert (read.sequences, read.targets, scored_targets(recipe, dataset, "train")) == (split.windows.epoch, held, held)
    assert read.tokens(read.sequences) == held and read.tokens(3 * read.sequences) == 3 * held
    shown = "\n".join(lines(describe(dataset, 6, 3)))
    assert f"{len(expected)} windows of 7 tokens, 3 apart; {held} targets" in shown
    assert "4 with fewer than 5 words left out" in shown


def test_a_data_set_of_one_stream_has_no_windows_of_documents(tmp_path):
    recipe = words_recipe(write_split(tmp_path / "texts"))
    stream = override(recipe, {"data.windows": "stream", "data.stride": "none"})
    one, other = (prepare(each.data, tmp_path / "cache") for each in (recipe, stream))
    assert one.id != other.id and other.begin_of_text is None
    begins = one.document_starts("train")[:-1]
    assert (np.delete(one.tokens("train"), begins) == other.tokens("train")).all(), "but for what begins a document"
    with pytest.raises(LabError, match=r"prepared as one stream") as caught:
        prepare(override(recipe, {"data.corpus": other.id}).data, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    with pytest.raises(LabError, match=r"prepared as one stream"):
        split_windows(recipe, other, "train")
    assert split_windows(stream, other, "train") is None


def test_a_text_of_one_document_is_marked_too_and_bytes_have_their_end_for_it(tmp_path):
    (tmp_path / "a.txt").write_text("abcdefghij" * 30)
    data = Data(corpus=str(tmp_path / "a.txt"), tokenizer="bytes", windows="documents")
    dataset = prepare(data, tmp_path / "cache")
    assert (dataset.begin_of_text, dataset.vocabulary_size) == (256, 257)
    assert dataset.tokens("train")[0] == 256 and dataset.tokens("valid")[[0, -1]].tolist() == [256, 256]
    assert dataset.units("valid")["bytes"].sum() == 30, "what begins a document has no bytes"


def test_what_a_run_read_of_documents_is_told_by_their_windows_only():
    windows = document_windows(starts_of([30, 4, 50]), 6, 3, 4)
    one = Use(
        data=(("a" * 16, 84),),
        seed=3,
        order="shuffle",
        context=6,
        cursor=(0, windows.epoch + 5),
        windows="documents",
        stride=3,
    )
    assert read_use(one.to_json()) == one
    assert (used_by(one, windows) == windows.held()).all()
    with pytest.raises(LabError, match="in windows of documents"):
        used_by(one)


WIKITEXT = {"train": (23_767, 23_029, 51_026), "valid": (2_461, 2_396, 5_272), "test": (2_891, 2_711, 5_920)}
"""Lines that aren't blank, those of them with five words or more, and the sequences of 64 tokens that they give."""


@pytest.mark.parametrize("split", ["valid", "test"])
def test_wikitext_2_gives_the_published_number_of_sequences(split):
    text = lzma.decompress((shared_data("wikitext-2") / f"{split}.txt.xz").read_bytes()).decode()
    words = [len(line.split()) for line in text.split("\n") if line.strip()]
    lengths = [count + 2 for count in words if count >= 5]
    assert (len(words), len(lengths), len(slow_windows(lengths, 63, 32))) == WIKITEXT[split]
    assert document_windows(starts_of(lengths), 63, 32).count == WIKITEXT[split][2]


@pytest.mark.slow
def test_wikitext_2_is_read_from_its_folder_with_the_published_counts(tmp_path):
    changes = {"data.vocabulary": "1000", "data.stride": "32", "model.context": "63", "train.batch": "2048"}
    recipe = words_recipe(shared_data("wikitext-2"), **changes)
    dataset = prepare(recipe.data, tmp_path)
    assert dataset.vocabulary_size == 1000
    for split, (_, documents, windows) in WIKITEXT.items():
        assert len(dataset.document_starts(split)) - 1 == documents
        assert split_windows(recipe, dataset, split).count == windows
    assert reading(recipe, dataset).sequences == 25 * 2048, "25 updates an epoch: 24 of 2,048 and one of 1,874"
    assert dataset.facts["corpus"]["short_documents"] == sum(lines - kept for lines, kept, _ in WIKITEXT.values())


def test_an_extended_data_set_begins_its_new_documents_too_and_leaves_short_ones_out(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"{line}\n" for line in TEXTS if line))
    (tmp_path / "more.txt").write_text("a b c d e f g\nfar too short\nc c c c c\n")
    data = words_recipe(tmp_path / "a.txt", **{"data.split": "tail", "data.valid_share": "0.4"}).data
    old = prepare(data, tmp_path / "cache")
    found = extend(old, [str(tmp_path / "more.txt")], separator="\\n", folder=tmp_path / "cache")
    assert found.added == {"train": 2}
    dataset = found.dataset
    starts, tokens = dataset.document_starts("train"), dataset.tokens("train")
    assert len(starts) == len(old.document_starts("train")) + 2
    assert (tokens[starts[:-1]] == 2).all() and (tokens[starts[1:] - 1] == 3).all()
    assert dataset.begin_of_text == 2 and dataset.facts["corpus"]["short_documents"] == 3


@given(cuts())
def test_cropping_keeps_the_first_window_of_each_document(cut):
    lengths, context, stride = cut
    starts = starts_of(lengths).tolist()
    pairs = zip(starts, starts[1:], strict=False)
    expected = [(first, min(end, first + context + 1)) for first, end in pairs if end - first > 1]
    windows = document_windows(starts_of(lengths), context, None, cropped=True)
    found = windows.spans(np.arange(windows.count))
    assert list(zip(*(side.tolist() for side in found), strict=True)) == expected
    assert windows.targets == sum(end - first - 1 for first, end in expected)


class TestCropping:
    CONTEXT = 8

    @pytest.fixture
    def dataset(self, tmp_path):
        (tmp_path / "a.txt").write_text("\n".join("x" * (number % 20 + 1) for number in range(200)))
        data = Data(corpus=str(tmp_path / "a.txt"), tokenizer="bytes", separator="\n", windows="cropped")
        return prepare(data, tmp_path / "cache")

    @pytest.fixture
    def recipe(self):
        return override(Recipe(), {"data.windows": "cropped", "model.context": str(self.CONTEXT), "train.batch": "1"})

    def test_the_share_of_tokens_lost_is_counted_in_tokens_of_text(self, dataset, recipe):
        lengths = np.diff(dataset.document_starts("train")) - 2  # each begins and ends with a token
        lost = np.maximum(lengths - self.CONTEXT, 0).sum() / lengths.sum()
        read = reading(recipe, dataset)
        assert read.lost_share == pytest.approx(lost) and 0.3 < lost < 0.5
        assert read.sequences == len(lengths)
        assert read.targets == np.minimum(lengths + 1, self.CONTEXT).sum()
        shown = "\n".join(lines(describe(dataset, self.CONTEXT, cropped=True)))
        assert f"{100 * lost:.2f}% of the tokens are lost" in shown
        assert f"cropped, as lmlab trains: {len(lengths):,} windows of at most 9 tokens, one a document" in shown

    def test_it_is_the_data_set_of_windows_of_documents(self, dataset, tmp_path):
        data = Data(corpus=str(tmp_path / "a.txt"), tokenizer="bytes", separator="\n", windows="documents")
        assert prepare(data, tmp_path / "cache").id == dataset.id

    def test_windows_hold_each_document_s_beginning(self, dataset, recipe):
        inputs, targets = training_batch(training_split(recipe, dataset), "shuffle", 3, self.CONTEXT, 0, 50)
        assert (inputs[:, 0] == dataset.begin_of_text).all()
        for row, target in zip(inputs, targets, strict=True):
            length = int((target != IGNORED_TARGET).sum())
            assert (row[1:length] == ord("x")).all() and (row[length + 1 :] == PADDING).all()

    def test_a_stride_is_refused(self, recipe):
        with pytest.raises(
            LabError, match="data.stride 4 is for several windows of a document, but data.windows is cropped"
        ):
            check(override(recipe, {"data.stride": "4"}))
