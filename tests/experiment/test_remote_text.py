"""Scoring a corpus on a hub: its validation split, for which nothing else is fetched."""

from lmlab.experiment.scoring import evaluate
from lmlab.experiment.start import train
from lmlab.recipe import override
from tests.data.shard_files import web_documents
from tests.data.test_remote_shards import NAMES, ROWS, chunks, ranges
from tests.data.test_remote_shards import corpus as corpus  # the fixtures
from tests.data.test_remote_shards import hub as hub
from tests.data.test_remote_shards import impatient as impatient


def test_a_run_is_scored_on_the_first_documents_of_a_corpus(small_recipe, tmp_path, hub, corpus):
    recipe = override(small_recipe, {"data.tokenizer": "bytes", "train.steps": "3"})
    train(recipe, run="one", runs=tmp_path)
    found = evaluate("one", runs=tmp_path, on="web", reading={"data.valid_documents": "30"})
    documents = web_documents(200, 0)[:30]
    assert found["tokens"] == sum(len(text.encode()) for text in documents) - 1  # the first isn't predicted
    groups = [found for found in ranges(hub, NAMES[0]) if found in chunks(hub.folder, NAMES[0])]
    assert len(set(groups)) <= 30 // ROWS + 2 and {name for name, _ in hub.asked} == {NAMES[0]}


def test_a_run_with_validation_documents_is_scored_on_a_text_without_them(small_recipe, tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "a.jsonl").write_text("".join(f'{{"text": "document {number} of a text"}}\n' for number in range(90)))
    settings = {"data.corpus": str(folder / "a.jsonl"), "data.split": "first", "data.valid_documents": "20"}
    recipe = override(small_recipe, {**settings, "data.tokenizer": "bytes", "train.steps": "3"})
    train(recipe, run="one", runs=tmp_path)
    (folder / "b.txt").write_text("another text, of one document " * 30)
    assert evaluate("one", runs=tmp_path, on=str(folder / "b.txt"))["tokens"] == 30 * 30 - 1
