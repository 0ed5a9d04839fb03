"""Data sets of conversations: tokens, targets, splits and windows against slow loops over the files, and published counts."""

import dataclasses
import json

import numpy as np
import pytest

from lmlab import LabError
from lmlab.data.dataset import open_dataset
from lmlab.data.fresh import sequences_an_epoch, training_batch, training_split
from lmlab.data.instructions.encoding import encoded_conversations
from lmlab.data.instructions.records import conversation_of
from lmlab.data.packing import POOL
from lmlab.data.preparation import prepare, prepared
from lmlab.data.reading import reading, scored_targets
from lmlab.data.tokenizers.bpe import learn_bpe
from lmlab.data.windows import IGNORED_TARGET, split_windows
from lmlab.recipe import Data, Recipe, check, override
from lmlab.recipe.template import TEMPLATES
from tests.shared import shared_data

BATCH, CONTEXT = 4, 220
INTRODUCTION = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
)


def records(count):
    """Alpaca's records: every third has an input, and answers of all lengths up to beyond the context."""
    return [
        {
            "instruction": f"Say {number}.",
            "input": f"in {number}" if number % 3 == 0 else "",
            "output": " ".join(f"w{number + place}" for place in range(1 + number * 7 % 23)),
        }
        for number in range(count)
    ]


def slow_text(record):
    """Question and answer by the published template, written out."""
    given = f"\n\n### Input:\n{record['input']}" if record["input"] else ""
    asked = f"{INTRODUCTION}\n\n### Instruction:\n{record['instruction']}{given}\n\n### Response:\n"
    return asked, record["output"]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(records(60)))
    return path


def recipe_of(corpus, **data):
    given = {"tokenizer": "bytes", "vocabulary": None, "template": "alpaca", "windows": "cropped", **data}
    recipe = Recipe(data=Data(corpus=str(corpus), **given))
    return check(override(recipe, {"model.context": CONTEXT, "train.batch": BATCH}))


def rows_of(recipe, dataset):
    """Inputs and targets of every sequence of the first epoch, by the windows' own first tokens, without padding."""
    split = training_split(recipe, dataset)
    epoch = sequences_an_epoch(split, "shuffle", recipe.model.context)
    found = []
    for first in range(0, epoch, BATCH):
        inputs, targets = training_batch(split, "shuffle", 1, recipe.model.context, first, BATCH)
        found += list(zip(inputs.tolist(), targets.tolist(), strict=True))
    return found


@pytest.mark.parametrize("targets", ["all", "response"])
def test_tokens_and_targets_are_those_of_a_loop_over_the_records(corpus, targets):
    recipe = recipe_of(corpus, split="sequential", valid_share=0.1, test_share=0.2, targets=targets)
    dataset = prepare(recipe.data)
    end = dataset.end_of_text
    expected = []
    for record in records(60)[:42]:
        asked, answer = (list(text.encode()) for text in slow_text(record))
        ids = [*asked, *answer, end][: recipe.model.context + 1]
        counted = (
            ids[1:]
            if targets == "all"
            else [token if place >= len(asked) else IGNORED_TARGET for place, token in enumerate(ids) if place]
        )
        if any(token != IGNORED_TARGET for token in counted):
            expected.append((ids[:-1], counted))
    found = []
    for inputs, wanted in rows_of(recipe, dataset):
        kept = max((place + 1 for place, token in enumerate(wanted) if token != IGNORED_TARGET), default=0)
        assert all(token == IGNORED_TARGET for token in wanted[kept:])
        if kept:
            found.append((inputs[:kept], wanted[:kept]))
    assert sorted(found) == sorted(expected)
    count = sum(token != IGNORED_TARGET for _, wanted in expected for token in wanted)
    assert reading(recipe, dataset).targets == count


def test_both_targets_are_one_data_set_and_another_template_is_another(corpus):
    one = prepare(recipe_of(corpus).data)
    assert prepare(recipe_of(corpus, targets="response").data).id == one.id
    assert prepare(recipe_of(corpus, windows="packed").data).id == one.id
    assert prepare(recipe_of(corpus, template="plain").data).id != one.id
    assert prepared(recipe_of(corpus).data).id == one.id
    again = open_dataset(one.folder)
    again.verify()
    assert again.facts["conversations"] == {"template": "alpaca", "unanswered": 0, "several_turns": 0}
    assert again.facts["splits"]["valid"]["unit"] == "document"


@pytest.mark.parametrize("targets", ["all", "response"])
def test_packed_windows_hold_every_target_of_whole_conversations_once(corpus, targets):
    apart, packed = (
        recipe_of(corpus, template="plain", targets=targets, windows=windows) for windows in ("cropped", "packed")
    )
    dataset = prepare(apart.data)
    for split in ("train", "valid"):
        assert scored_targets(packed, dataset, split) == scored_targets(apart, dataset, split)
    windows = split_windows(packed, dataset, "train")
    starts = dataset.document_starts("train")
    assert windows.count < len(starts) - 1
    assert set(windows.firsts.tolist()) <= set(starts.tolist())
    assert (windows.ends - windows.firsts <= packed.model.context + 1).all()
    counted = sorted(t for _, row in rows_of(packed, dataset) for t in row if t != IGNORED_TARGET)
    assert counted == sorted(t for _, row in rows_of(apart, dataset) for t in row if t != IGNORED_TARGET)


def test_bucketed_batches_have_each_window_once_an_epoch_and_little_padding(tmp_path):
    path = tmp_path / "many.json"
    path.write_text(json.dumps(records(POOL * BATCH + 30)))
    apart, bucketed = (recipe_of(path, windows=windows) for windows in ("cropped", "bucketed"))
    dataset = prepare(apart.data)
    shares, orders = [], []
    for recipe in (apart, bucketed):
        split = training_split(recipe, dataset)
        epoch = sequences_an_epoch(split, "shuffle", recipe.model.context)
        for turn in (0, 1):
            starts = np.concatenate(
                [split.windows.at(1, turn * epoch + first, BATCH)[0] for first in range(0, epoch, BATCH)]
            )
            ends = np.concatenate(
                [split.windows.at(1, turn * epoch + first, BATCH)[1] for first in range(0, epoch, BATCH)]
            )
            real = starts[ends > 0]
            assert sorted(real.tolist()) == dataset.document_starts("train")[:-1].tolist()
            orders.append(real.tolist())
        batches = [
            training_batch(split, "shuffle", 1, recipe.model.context, first, BATCH)[1]
            for first in range(0, epoch, BATCH)
        ]
        shares.append(np.mean(np.concatenate([(batch == IGNORED_TARGET).ravel() for batch in batches])))
        whole = split.windows.at(1, 3, 2 * BATCH)
        parts = [split.windows.at(1, 3 + place, 1) for place in range(2 * BATCH)]
        assert np.array_equal(whole[0], np.concatenate([part[0] for part in parts]))
    assert shares[1] < 0.6 * shares[0]
    assert orders[2] != orders[3]


def test_targets_of_units_are_those_of_their_windows(corpus):
    recipe = recipe_of(corpus, targets="response", windows="packed")
    dataset = prepare(recipe.data)
    windows, starts = split_windows(recipe, dataset, "train"), dataset.document_starts("train")
    responses = dataset.responses("train")
    assert windows.targets_in(starts[:-1], starts[1:]).tolist() == [
        int(responses[first : min(end, first + CONTEXT + 1)].sum())
        for first, end in zip(starts[:-1], starts[1:], strict=True)
    ]


def test_the_published_split_has_935_110_and_55_conversations():
    corpus = shared_data("llms-from-scratch/instruction-data.json")
    data = recipe_of(corpus, split="sequential", valid_share=0.05, test_share=0.1).data
    dataset = prepare(data)
    sizes = {split: len(dataset.document_starts(split)) - 1 for split in dataset.splits}
    assert sizes == {"train": 935, "valid": 55, "test": 110}
    every = json.loads(corpus.read_text())
    for split, first, end in (("train", 0, 935), ("test", 935, 1045), ("valid", 1045, 1100)):
        expected = b"".join("".join(slow_text(record)).encode() for record in every[first:end])
        kept = dataset.tokens(split)
        assert bytes(kept[kept != dataset.end_of_text].tolist()) == expected


def test_tokens_are_those_of_the_published_text_encoded_as_one():
    """The published code encodes question and answer as one text; here the answer is encoded by itself."""
    records = json.loads(shared_data("llms-from-scratch/instruction-data.json").read_text())
    texts = [slow_text(record) for record in records]
    tokenizer = learn_bpe(["".join(text) for text in texts[:200]], 600)
    messages = [conversation_of(record, "here").messages for record in records]
    for text, found in zip(texts, encoded_conversations(tokenizer, TEMPLATES["alpaca"], messages), strict=True):
        assert found.ids.tolist() == [*tokenizer.encode("".join(text)).tolist(), tokenizer.end_of_text]
        assert int((~found.response).sum()) == len(tokenizer.encode(text[0]))


def test_a_hashed_split_has_a_test_split_of_about_its_share(corpus):
    dataset = prepare(recipe_of(corpus, split="hash", valid_share=0.2, test_share=0.2).data)
    sizes = [len(dataset.document_starts(split)) - 1 for split in ("train", "valid", "test")]
    assert sum(sizes) == 60 and min(sizes) >= 5


def test_a_few_conversations_are_split_between_two_of_them(tmp_path):
    """The border of a text's end would be within the last conversation, which is longer than the share."""
    path = tmp_path / "few.json"
    path.write_text(json.dumps([*records(5), {"instruction": "Count.", "output": "and " * 500}]))
    dataset = prepare(recipe_of(path, split="auto").data)
    dataset.verify()
    assert {split: len(dataset.document_starts(split)) - 1 for split in dataset.splits} == {"train": 5, "valid": 1}
    path.write_text(json.dumps(records(1)))
    with pytest.raises(LabError, match="expected 2 or more"):
        prepare(recipe_of(path, split="auto").data)


def test_turns_are_responses_by_themselves_and_all_end(tmp_path):
    path = tmp_path / "chats.jsonl"
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "A"}] * 2
    path.write_text("".join(json.dumps({"messages": turns}) + "\n" for _ in range(4)))
    for template, response in (("chatml", "A<|im_end|>\n"), ("plain", "A")):
        dataset = prepare(recipe_of(path, template=template, split="sequential", valid_share=0.5).data)
        tokens, marks = dataset.tokens("train")[: dataset.document_starts("train")[1]], dataset.responses("train")
        written = tokens[marks[: len(tokens)]].tolist()
        end = dataset.end_of_text
        between = [] if template == "chatml" else [end]
        assert written == [*response.encode(), *between, *response.encode(), end]
        assert dataset.facts["conversations"]["several_turns"] == 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"windows": "stream"}, "would cut conversations in two"),
        ({"split": "tail"}, "isn't for conversations"),
        ({"template": "none", "targets": "response"}, "targets response is for conversations"),
        ({"split": "sequential", "valid_share": 0.5, "test_share": 0.6}, "expected less than 1"),
        ({"test_share": 0.1}, "data.test_share 0.1 is for data.split hash and sequential"),
    ],
)
def test_settings_that_dont_go_together_are_refused(corpus, settings, words):
    with pytest.raises(LabError, match=words):
        recipe_of(corpus, **settings)


def test_damaged_marks_are_refused(corpus):
    dataset = prepare(recipe_of(corpus).data)
    path = dataset.folder / "responses-train.bin"
    content = bytearray(path.read_bytes())
    content[3] = 7
    path.write_bytes(content)
    with pytest.raises(LabError, match="responses-train.bin is damaged"):
        open_dataset(dataset.folder).responses("train")
    path.write_bytes(content[:-1])
    with pytest.raises(LabError, match="responses-train.bin has"):
        open_dataset(dataset.folder)


def test_plain_text_isnt_read_with_a_template(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("some words\n" * 50)
    with pytest.raises(LabError, match="line 1, isn't JSON"):
        prepare(recipe_of(path).data)
    plain = prepare(Data(corpus=str(path), tokenizer="bytes", vocabulary=None))
    with pytest.raises(LabError, match="is plain text, but data.template is alpaca"):
        split_windows(recipe_of(path), plain, "train")
    with pytest.raises(LabError, match="was prepared with data.template none"):
        prepare(dataclasses.replace(recipe_of(path).data, corpus=plain.id))
