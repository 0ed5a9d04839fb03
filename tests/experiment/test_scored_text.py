"""Which text a model is scored on: one rule for a plain file, a text with splits of its own, and the run's own text."""

import json

import numpy as np
import pytest

from lmlab import LabError
from lmlab.cli import main
from lmlab.data.all_splits import ALL, AllSplits
from lmlab.data.preparation import prepare
from lmlab.data.seen import seen_units
from lmlab.experiment.scoring import evaluate as evaluate_runs
from lmlab.experiment.start import train
from lmlab.recipe import Data, Recipe, override
from lmlab.study.compare.comparing import compare
from lmlab.study.compare.comparison import Asked
from lmlab.training.display import Quiet

SMALL = {
    **{"model.layers": "1", "model.heads": "2", "model.width": "16", "model.context": "16", "train.batch": "2"},
    **{
        "train.steps": "4",
        "train.threads": "1",
        "train.device": "cpu",
        "evaluate.every": "4",
        "data.tokenizer": "bytes",
    },
    **{"optim.kind": "adamw", "schedule.kind": "constant", "train.checkpoint_every": "4", "data.vocabulary": "none"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_text):
    """A folder with a text and `mine`, a run that was trained on it; `other` validates on another share."""
    folder = tmp_path_factory.mktemp("scored")
    (folder / "mine.txt").write_text(tiny_text, encoding="utf-8")
    for name, share in (("mine", "0.1"), ("other", "0.3")):
        settings = {**SMALL, "data.corpus": str(folder / "mine.txt"), "data.valid_share": share}
        recipe = override(Recipe(), settings)
        train(recipe, run=name, runs=folder, display=Quiet(), say=lambda line: None)
    return folder


def evaluate(place, *words, **options):
    return evaluate_runs(*words, runs=place, **options)


def test_a_plain_file_is_scored_whole_and_named(place):
    text = "Nobody has seen this line before, and it ends here.\n" * 40
    (place / "held-out.txt").write_text(text)
    values = evaluate(place, "mine", on=str(place / "held-out.txt"))
    assert values["split"] == ALL and values["scored"].startswith(f"all of {place / 'held-out.txt'}")
    assert values["bytes"] == len(text.encode()) - 1, "every byte but the first, which is given"
    assert values["trained_on"]["units"] == 0
    assert "mine was trained on none of the" in values["trained_on_note"]
    part = evaluate(place, "mine", on=str(place / "held-out.txt"), split="valid")
    assert part["split"] == "valid" and part["tokens"] < values["tokens"] / 5


def test_the_run_s_own_text_is_named_as_such_and_its_validation_split_is_the_run_s(place):
    values = evaluate(place, "other", on=str(place / "mine.txt"))
    assert values["split"] == ALL
    found = values["trained_on"]
    assert 0.55 < found["share_of_tokens"] < 0.7, "it was trained on the first 70 %, in whole blocks of 1,024 bytes"
    assert "other was trained on" in values["trained_on_note"] and "--split valid" in values["trained_on_note"]
    own, given = evaluate(place, "other"), evaluate(place, "other", on=str(place / "mine.txt"), split="valid")
    for figure in ("loss", "tokens", "data_id"):
        assert own[figure] == given[figure]
    train = evaluate(place, "other", split="train")
    assert "this is the split that other was trained on" in train["trained_on_note"]


def test_the_run_s_own_data_set_is_told_the_same_by_its_id_as_without_a_name(place):
    own = evaluate(place, "mine")
    named = evaluate(place, "mine", on=own["data_id"])
    assert named["scored"] == f"the validation split of data set {own['data_id']}"
    for figure in ("loss", "duplicates", "duplicates_note", "trained_on_note"):
        assert own[figure] == named[figure]
    assert "--split valid" in evaluate(place, "mine", split=ALL)["duplicates_note"]


def test_a_text_with_parts_and_a_data_set_are_scored_by_their_validation_split(place, tiny_text):
    folder = place / "parts"
    folder.mkdir(exist_ok=True)
    lines = tiny_text.splitlines(keepends=True)
    (folder / "train.txt").write_text("".join(lines[:20]), encoding="utf-8")
    (folder / "valid.txt").write_text("".join(lines[20:]), encoding="utf-8")
    values = evaluate(place, "mine", on=str(folder))
    assert values["split"] == "valid" and values["tokens"] == len("".join(lines[20:]).encode()) - 1
    identity = values["data_id"]
    assert evaluate(place, "mine", on=identity)["tokens"] == values["tokens"]
    whole = evaluate(place, "mine", on=identity, split="all")
    assert whole["tokens"] == len(tiny_text.encode()) - 1


def test_a_text_is_read_by_the_column_that_is_asked_for(place, capsys):
    records = place / "d.jsonl"
    records.write_text("\n".join(json.dumps({"body": f"A line of text, number {number}."}) for number in range(60)))
    for verb in (["evaluate", "mine"], ["compare", "mine", "other"]):
        words = [*verb, "--on", str(records), "--runs", str(place), "--json"]
        assert main([*words]) == 1
        assert "expected --data.column to name one of these" in capsys.readouterr().err
        assert main([*words, "--data.column", "body"]) == 0
        capsys.readouterr()
        assert main([*verb, "--runs", str(place), "--data.column", "body"]) in (1, 2)
        assert "needs --on TEXT" in capsys.readouterr().err


def test_compare_scores_a_plain_file_whole_for_runs_of_other_shares_and_says_what_they_were_trained_on(place):
    found = compare(["mine", "other"], place, Asked(on=str(place / "mine.txt")))
    assert any(line.startswith("the verdicts are of all of ") for line in found.warnings)
    assert any(line.startswith("other was trained on") for line in found.warnings)
    assert found.pairs[0].losses is not None
    assert found.to_json()["asked"]["split"] is None
    with pytest.raises(LabError, match="divided differently"):
        compare(["mine", "other"], place, Asked(on=str(place / "mine.txt"), split="valid"))


def test_what_a_comparison_on_a_text_printed_can_be_verified(place, tmp_path, capsys):
    words = ["compare", "mine", "other", "--on", str(place / "mine.txt"), "--runs", str(place), "--json"]
    assert main(words) == 0
    (tmp_path / "said.json").write_text(capsys.readouterr().out)
    assert main(["verify", str(tmp_path / "said.json"), "--runs", str(place)]) == 0, capsys.readouterr()


@pytest.mark.parametrize("documents", [1, 60, 400])
def test_all_splits_are_the_splits_one_after_the_other(documents, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n<|endoftext|>\n".join(f"Document {number}: {'word ' * 30}" for number in range(documents)) * 3)
    dataset = prepare(Data(corpus=str(path), tokenizer="bytes", vocabulary=None), tmp_path / "cache")
    whole = AllSplits(dataset)
    parts = [dataset.tokens(split) for split in dataset.splits]
    assert np.array_equal(whole.tokens(ALL), np.concatenate(parts))
    starts = whole.document_starts(ALL)
    assert starts[-1] == len(whole.tokens(ALL)) and (np.diff(starts) > 0).all()
    units = whole.units(ALL)
    assert units["bytes"].sum() == sum(dataset.units(split)["bytes"].sum() for split in dataset.splits)
    assert set(units["start"][: len(dataset.units("train"))]) == set(dataset.units("train")["start"])
    assert (units["start"][len(dataset.units("train")) :] >= len(parts[0])).all()


@pytest.mark.parametrize(("of_trained", "of_scored"), [(1, 1), (400, 400), (400, 10), (10, 400)])
def test_seen_units_are_those_whose_text_was_trained_on(of_trained, of_scored, tmp_path):
    """Whether either text is compared by documents or by blocks."""

    def made(name, numbers):
        path = tmp_path / f"{name}.txt"
        path.write_text(
            "\n<|endoftext|>\n".join(f"Document {number}: {number * 7} {'word ' * 9}" for number in numbers)
        )
        return prepare(Data(corpus=str(path), tokenizer="bytes", vocabulary=None), tmp_path / "cache")

    trained, scored = made("trained", range(of_trained)), AllSplits(made("scored", range(of_scored)))
    train = {trained.text("train", begin, end - begin) for begin, end in zip(*_borders(trained), strict=True)}
    seen = seen_units(scored, ALL, trained)
    starts = scored.document_starts(ALL)
    for unit, known in zip(scored.units(ALL), seen, strict=True):
        document = int(np.searchsorted(starts, unit["start"], side="right")) - 1
        text = scored.tokenizer.decode(scored.tokens(ALL)[starts[document] : starts[document + 1]].tolist())
        assert known == (text in train)


def _borders(dataset):
    starts = dataset.document_starts("train")
    return starts[:-1], starts[1:]


def test_words_that_are_no_split_or_no_setting_of_reading_are_refused(place):
    with pytest.raises(LabError, match="expected one of train, valid, test, all"):
        evaluate(place, "mine", split="validation")
    with pytest.raises(LabError, match=r"data\.tokenizer doesn't apply"):
        evaluate(place, "mine", on=str(place / "mine.txt"), reading={"data.tokenizer": "words"})


def test_a_run_is_scored_in_its_own_precision_and_where_that_is_not_done_it_is_said(place):
    settings = {**SMALL, "data.corpus": str(place / "mine.txt"), "train.precision": "bf16", "data.valid_share": "0.1"}
    made = train(override(Recipe(), settings), run="bf16", runs=place, display=Quiet(), say=lambda line: None)
    scores = evaluate(place, "bf16")
    assert (scores["precision"], scores["warnings"]) == ("bf16", [])
    assert scores["loss"] == made.summary["final"]["loss"]
    made.run.write("policy.json", {**made.run.read("policy.json"), "device": "cuda:0"})
    there = evaluate(place, "bf16", device="cpu")
    assert there["precision"] == "fp32" and there["loss"] != scores["loss"]
    assert there["loss"] == pytest.approx(scores["loss"], rel=1e-3)
    (line,) = there["warnings"]
    assert line == "scored in fp32 on cpu; the run's own scores were in bf16 on cuda:0 and may differ slightly"


def test_a_smaller_stride_and_documents_by_themselves_are_scored_and_named(place, tiny_text):
    usual = evaluate(place, "mine")
    same = evaluate(place, "mine", stride=16)
    assert same["loss"] == pytest.approx(usual["loss"], rel=1e-6) and "at a stride of 16" in same["scored"]
    near = evaluate(place, "mine", stride=4)
    assert near["tokens"] == usual["tokens"] and near["loss"] != usual["loss"] and near["bits_per_byte"]
    (place / "stories").mkdir()
    for number in range(12):
        (place / "stories" / f"{number}.txt").write_text(tiny_text[number * 50 : number * 50 + 40])
    alone = evaluate(place, "mine", on=str(place / "stories"), alone=True)
    assert alone["documents_alone"] and "each document by itself" in alone["scored"]
    with pytest.raises(LabError, match="expected 1 to its context of 16 tokens"):
        evaluate(place, "mine", stride=17)


def test_attention_within_documents_needs_the_datas_own_end_of_text(place, tiny_text):
    (place / "tales").mkdir()
    for number in range(8):
        (place / "tales" / f"{number}.txt").write_text(tiny_text[number * 90 : number * 90 + 80])
    settings = {**SMALL, "data.corpus": str(place / "tales"), "data.valid_share": "0.3", "model.boundary": "9"}
    with pytest.raises(LabError, match="use --model.boundary 256"):
        train(override(Recipe(), settings), run="wrong", runs=place, display=Quiet(), say=lambda line: None)
    settings |= {"model.boundary": "256", "model.dropout": "0.1"}
    made = train(override(Recipe(), settings), run="separate", runs=place, display=Quiet(), say=lambda line: None)
    assert evaluate(place, "separate")["loss"] == pytest.approx(made.summary["final"]["loss"], rel=1e-6)
