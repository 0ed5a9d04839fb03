"""The description of a data set: lengths, cropping against packing, the plot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.data.describe import cropping, describe, document_lengths, summarise
from lmlab.data.describe_lines import histogram_lines, lines
from lmlab.data.plot import plot_lengths
from lmlab.data.preparation import prepare
from lmlab.recipe import Data
from tests.data.support import documents_in, write_stories


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("describe")
    write_stories(folder / "stories.txt", 120)
    return prepare(Data(corpus=str(folder / "stories.txt"), tokenizer="bytes"), folder / "cache")


def test_cropping_is_the_sum_of_what_fits():
    found = cropping(np.array([10, 100, 250, 40]), 100, tokens=404)
    assert (found.longer_documents, found.longer_share) == (1, 0.25)
    assert (found.kept_tokens, found.kept_share) == (250, 250 / 400)
    assert found.padding_share == 150 / 400
    assert found.packing_lost_tokens == 403 - 4 * 100


def test_a_corpus_like_fineweb_gives_back_the_published_shares():
    # 14,868,862 documents of 10,336,315,397 tokens, 16.40 % of them longer than 1,024; 71.15 % kept. Here a thousandth
    # of it: the longer ones keep 1,024 tokens each, so the others hold what is left of the kept tokens.
    documents, tokens = 14_869, 10_336_315
    longer = round(0.1640 * documents)
    kept = round(0.7115 * tokens)
    short = np.full(documents - longer, (kept - longer * 1024) // (documents - longer))
    rest = tokens - short.sum()
    found = cropping(np.concatenate([short, np.full(longer, rest // longer)]), 1024, tokens)
    assert round(100 * found.longer_share, 1) == 16.4
    assert round(100 * found.kept_share) == 71


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=50).map(np.array), st.integers(1, 3000))
def test_summary_and_cropping_agree_with_the_slow_way(lengths, context):
    summary = summarise(lengths)
    assert sum(summary.counts) == summary.documents == len(lengths)
    assert (summary.shortest, summary.longest, summary.tokens) == (min(lengths), max(lengths), sum(lengths))
    for low, high, count in zip(summary.edges, summary.edges[1:], summary.counts, strict=False):
        last = high == summary.edges[-1]
        assert count == sum(low <= max(1, length) and (max(1, length) < high or last) for length in lengths)
    found = cropping(lengths, context, int(lengths.sum()) + 1)
    assert found.kept_tokens == sum(min(length, context) for length in lengths)
    assert 0 <= found.packing_lost_tokens < context
    assert len(histogram_lines(summary)) == len(summary.counts)


def test_lengths_leave_the_end_of_text_out(dataset, tmp_path):
    path = dataset.folder.parent.parent.parent / "stories.txt"
    lengths = [*document_lengths(dataset, "train"), *document_lengths(dataset, "valid")]
    assert sorted(lengths) == sorted(len(text.encode()) for text in documents_in(path))


def test_a_document_that_a_view_cuts_has_no_end_of_text_to_leave_out(dataset):
    from lmlab.data.preparation import view

    cut = int(dataset.document_starts("train")[1]) + 10
    assert document_lengths(view(dataset, cut), "train").tolist()[-1] == 10


def test_description_is_plain_json_with_the_counts_on_top(dataset):
    import json

    found = json.loads(json.dumps(describe(dataset, 64).to_json()))
    assert found["tokens"] == found["train_tokens"] + found["valid_tokens"]
    assert (found["id"], found["vocabulary"]) == (dataset.id, 257)
    assert found["splits"][0]["cropping"]["context"] == 64
    assert found["splits"][0]["bytes_per_token"] == 1.0


def test_lines_say_what_was_counted(dataset):
    text = "\n".join(lines(describe(dataset, 64)))
    assert "120 documents" in text and "cropped at 64 tokens" in text and "█" in text
    assert f"{len(dataset.tokens('train')):,} tokens" in text
    assert "0 of" in text and "validation documents are training documents too" in text


def test_picture_is_a_png_that_shows_something(dataset, tmp_path):
    from matplotlib import image

    path = plot_lengths(describe(dataset, 64), tmp_path / "lengths.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = image.imread(path)
    assert pixels.shape[0] > 400 and pixels.shape[1] > 800
    colours = (pixels[..., :3] * 255).astype(int).reshape(-1, 3)
    for bar in ((0x2B, 0x6C, 0xB0), (0xDD, 0x6B, 0x20)):
        assert (colours == bar).all(axis=1).sum() > 1000


def test_lengths_within_a_decade_have_no_ticks_in_powers(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("".join("x" * length + "\n" for length in range(20, 90)))
    found = describe(prepare(Data(corpus=str(path), tokenizer="bytes", separator="\n"), tmp_path / "cache"), 64)
    drawn = plot_lengths(found, tmp_path / "lengths.svg").read_text(encoding="utf-8")
    assert "<!-- 50 -->" in drawn and "times" not in drawn


def test_picture_that_can_t_be_drawn_or_written_is_one_line(dataset, tmp_path):
    with pytest.raises(LabError, match="can't be written"):
        plot_lengths(describe(dataset, 64), tmp_path / "no" / "folder.png")
    with pytest.raises(LabError, match="can't be written"):
        plot_lengths(describe(dataset, 64), tmp_path / "a.nonsense")
    path = tmp_path / "one.txt"
    path.write_text("one document " * 100)
    single = prepare(Data(corpus=str(path), tokenizer="bytes"), tmp_path / "cache")
    with pytest.raises(LabError, match="one document in each split"):
        plot_lengths(describe(single, 64), tmp_path / "x.png")
    assert "cropped" not in "\n".join(lines(describe(single, 64)))
