"""Plans for a corpus that takes long to prepare: from its beginning, for the length of the whole."""

import shutil
import zlib

import pytest

from lmlab.data.preparation import planned, prepare
from lmlab.data.shards.existing import Beginning
from lmlab.data.shards.forecast import BYTES_A_DOCUMENT, Pass, disk_bytes, forecast
from lmlab.experiment.budgeted import plan_on_card
from lmlab.experiment.planned import plan
from lmlab.hardware.cards import card_named
from lmlab.recipe import override
from tests.data.shard_files import write_folder
from tests.experiment.test_planned import tried as tried  # the fixture


@pytest.fixture
def recipe(small_recipe, tmp_path, monkeypatch, request):
    """A text of its own for each test, since all of them have one cache."""
    monkeypatch.setattr("lmlab.data.shards.preparing.PLANNED_TOKENS", 5_000)
    write_folder(tmp_path / "shards", seed=1000 * zlib.crc32(request.node.name.encode()))
    settings = {
        "data.corpus": str(tmp_path / "shards"),
        "data.tokenizer": "bytes",
        "data.split": "first",
        "data.valid_documents": "20",
        "data.tokens": "100k",
    }
    return override(small_recipe, settings)


def test_a_plan_prepares_the_beginning_alone_and_counts_the_whole(tried, recipe, tmp_path):
    found = plan(recipe, runs=tmp_path / "runs", say=lambda line: None)
    assert found.position.unique_tokens == 100_000
    assert found.position.epochs == pytest.approx(12 * 4 * 16 / 100_000)
    left = found.preparation.tokens
    assert 94_000 < left <= 95_000
    dataset = planned(recipe.data)
    assert isinstance(dataset, Beginning) and 5_000 <= len(dataset.tokens("train")) < 6_000
    shown = "\n".join(found.lines())
    assert "k tokens to prepare" in shown and "free on the disk" in shown
    assert found.to_json()["preparation"]["tokens"] == left


def test_epochs_are_of_the_whole(tried, recipe, tmp_path):
    found = plan(override(recipe, {"train.epochs": "2"}), runs=tmp_path / "runs", say=lambda line: None)
    assert found.steps == 2 * ((100_000 - 1) // 16) // 4


def test_what_is_prepared_needs_no_preparation(tried, recipe, tmp_path):
    prepare(recipe.data)
    found = plan(recipe, runs=tmp_path / "runs", say=lambda line: None)
    assert found.preparation is None and found.to_json()["preparation"] is None
    assert not any(line.startswith("  data") for line in found.lines())


def test_the_training_continues_from_the_plans_beginning(recipe):
    beginning = planned(recipe.data)
    whole = prepare(recipe.data)
    assert whole.facts["extends"][0]["id"] == beginning.id


def test_a_disk_without_the_space_is_an_alarm(tried, recipe, tmp_path, monkeypatch):
    planned(recipe.data)
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    found = plan(recipe, runs=tmp_path / "runs", say=lambda line: None)
    assert any("preparing its data needs" in line for line in found.alarms())


def test_a_plan_for_a_card_says_what_its_data_takes(recipe):
    shown = "\n".join(plan_on_card(recipe, card_named("rtx3090")).lines())
    assert "preparing 9" in shown and "(on this machine)" in shown


def test_the_forecast_is_the_rate_times_what_is_left(tmp_path):
    done = Pass(tokens=2_000_000, documents=2_000, seconds=2.0, fetched_bytes=5_000_000)
    found = forecast(done, 3_298_000_000, 2, 695.2, tmp_path)
    assert found.seconds == 3298 and found.tokens_per_second == 1e6
    assert found.fetched_bytes == 5_000_000 // 2 * 3298
    assert (
        found.disk_bytes == disk_bytes(3_298_000_000, 2, 1000) == round(3_298_000_000 * (2 + BYTES_A_DOCUMENT / 1000))
    )
    assert "55 min" in found.summary() or "54 min" in found.summary()
    assert "have 1,000 tokens in the mean, those of the whole corpus 695" in found.doubt()
    assert forecast(done, 100, 2, 900.0, tmp_path).doubt() == ""


def test_a_data_set_of_the_counted_size_fits_what_was_forecast(recipe, monkeypatch):
    """The files that exist at most, while a data set is made, are within what its tokens and documents are counted with."""
    from lmlab.data.shards import making

    sizes = []
    real = making.finish

    def finish(work, *arguments):
        real(work, *arguments)
        sizes.append(sum(path.stat().st_size for path in work.iterdir() if path.name != "tokenizer.json"))

    monkeypatch.setattr(making, "finish", finish)
    whole = prepare(recipe.data).whole
    tokens = sum(len(whole.tokens(split)) for split in whole.splits)
    documents = sum(entry["documents"] for entry in whole.facts["splits"].values())
    assert sizes[-1] < disk_bytes(tokens, 2, tokens / documents) + 10_000
