"""A user's mistake is one line on standard error with an exit status, never a traceback, and nothing is left behind."""

import shutil
from collections import namedtuple

import pytest


def assert_refused(result, status, *words):
    got, _, errors = result
    assert got == status, errors
    lines = [line for line in errors.strip().splitlines() if line]
    assert len(lines) == 1, errors
    assert lines[0].startswith("lmlab: ")
    assert "Traceback" not in errors
    for word in words:
        assert word in lines[0], lines[0]


@pytest.fixture
def text(tmp_path):
    def write(content, name="bad.txt"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def test_a_missing_file(lmlab):
    assert_refused(
        lmlab("train", "nowhere/my.txt"),
        1,
        "there is no corpus 'nowhere/my.txt'",
        "expected a file, a folder, - or one of",
    )


def test_a_missing_file_of_prompts_and_an_argument_that_is_no_flag(lmlab):
    refusal = "prompts can't be read from none.txt (No such file or directory): expected a text file"
    assert_refused(lmlab("sample", "any", "--prompts", "none.txt"), 1, refusal)
    assert_refused(lmlab("chain", "--file", "x"), 2, "has no --file: expected one of --help, --runs")


def test_an_empty_file(lmlab, text):
    assert_refused(lmlab("train", text(b"")), 1, "bad.txt contains no text")


def test_text_that_is_not_utf8(lmlab, text):
    assert_refused(
        lmlab("train", text(b"ordinary text " * 100 + b"caf\xe9 and more")),
        1,
        "bad.txt",
        "byte 1,403",
        "convert the file to UTF-8",
    )


def test_a_text_shorter_than_any_context(lmlab, text):
    assert_refused(lmlab("train", text(b"too short")), 1, "too short: 9 bytes", "expected at least 320")


def test_a_split_shorter_than_the_context(lmlab, small):
    words = [*small]
    words[words.index("--model.context") + 1] = "1000"
    assert_refused(lmlab(*words), 1, "the valid split has 672 tokens", "use a model.context of at most 671, more text")


def test_an_unknown_recipe(lmlab):
    assert_refused(lmlab("train", "shakespear-cpu"), 1, "shakespear-cpu", "did you mean shakespeare-cpu?")


def test_an_unknown_setting(lmlab, small):
    assert_refused(lmlab(*small, "--model.layer", "3"), 1, "model.layer", "did you mean model.layers?")


def test_an_impossible_setting(lmlab, small):
    assert_refused(
        lmlab(*small, "--model.width", "17"), 1, "model.heads 2 must divide model.width 17: the nearest that does is 1"
    )


def test_a_setting_without_its_value(lmlab, small):
    assert_refused(lmlab(*small, "--train.steps"), 2, "--train.steps needs a value: write --train.steps VALUE")


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        ("--max_iters", "--train.steps"),
        ("--block_size", "--model.context"),
        ("--learning_rate", "--optim.lr"),
        ("--n_layer", "--model.layers"),
        ("--num_train_epochs", "--train.epochs"),
    ],
)
def test_a_name_from_nanogpt_or_hugging_face_is_answered_with_ours(lmlab, small, foreign, ours):
    for words in ([foreign, "5"], [f"{foreign}=5"]):
        assert_refused(lmlab(*small, *words), 2, f"{foreign} is called {ours} here")


def test_an_unknown_flag_and_an_unknown_verb(lmlab, small):
    assert_refused(lmlab(*small, "--runn", "x"), 2, "has no --runn: did you mean --run?")
    assert_refused(lmlab(*small, "--lr", "1"), 2, "has no --lr: the recipe's setting is --optim.lr")
    assert_refused(lmlab("trian"), 2, "there is no verb 'trian': did you mean train?")
    assert_refused(lmlab("train"), 2, "needs a recipe or a text file: lmlab recipes lists the recipes")


def test_a_run_name_that_exists(lmlab, small):
    assert lmlab(*small, "--run", "mine")[0] == 0
    assert_refused(
        lmlab(*small, "--run", "mine"),
        1,
        "the run mine exists already in",
        "choose another --run, or continue it: lmlab resume mine",
    )


def test_an_unknown_run_is_answered_with_the_nearest(lmlab, small):
    lmlab(*small, "--run", "mine")
    assert_refused(lmlab("evaluate", "mnie"), 1, "there is no run 'mnie' in", "did you mean mine?")
    assert_refused(lmlab("sample", "mine@7", "--prompt", "a"), 1, "has no checkpoint of step 7: expected one of 0, 6")


def test_a_prompt_with_symbols_outside_the_vocabulary_names_them(lmlab, small):
    lmlab(*small, "--run", "mine")
    assert_refused(
        lmlab("sample", "mine", "--prompt", "x = 7 €"), 1, "'7' (U+0037), '€' (U+20AC): leave that out of the prompt"
    )


def test_a_full_disk_is_found_before_the_run_begins(lmlab, small, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9, 1000))
    status, _, errors = lmlab(*small, "--run", "mine")
    assert status == 1
    assert "free" in errors and "MB" in errors and "Traceback" not in errors
    assert not (tmp_path / "runs" / "mine").exists()


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(lmlab, small, tmp_path):
    assert lmlab(*small, "--run", "mine", "--train.keep_finished", "all")[0] == 0
    weights = tmp_path / "runs" / "mine" / "checkpoints" / "step-00000006" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    status, output, errors = lmlab("evaluate", "mine@latest")
    assert status == 0
    assert "mine@3" in output
    assert "step-00000006" in errors or "step 6" in errors
    assert_refused(lmlab("evaluate", "mine@6"), 1, "6")


def test_a_text_with_symbols_that_the_run_does_not_know_is_refused(lmlab, small, text):
    lmlab(*small, "--run", "mine")
    other = text("§ß¤ ".encode() * 500, "other.txt")
    assert_refused(
        lmlab("evaluate", "mine", "--on", other), 1, "'§' (U+00A7) at character 0 isn't among the 35", "leave it out"
    )
    words = ["train", "--from", "mine", "--data.corpus", other, "--train.steps", "9"]
    expected = "expected data prepared with the parent's tokenizer"
    assert_refused(lmlab(*words), 1, "has a vocabulary of 35 tokens, but this data has", expected)


def test_rate_and_size_where_they_mean_nothing(lmlab, text):
    assert_refused(lmlab("train", "first", "--rate", "hold"), 2, "--rate needs --from RUN@STEP")
    assert_refused(lmlab("train", "first", "--size", "10M"), 2, "--size is for a text file: a recipe has its shape")
    assert_refused(lmlab("train", "first", "--or-resume"), 2, "--or-resume needs --run NAME: which run to continue")
    assert_refused(
        lmlab("train", text(b"some text " * 400), "--size", "7X"), 1, "7X", "expected parameters such as 750k"
    )


def test_a_bench_that_could_not_be_written_is_refused_before_it_begins(lmlab, tmp_path, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("measured")

    monkeypatch.setattr("lmlab.experiment.benching.bench", never)
    assert_refused(lmlab("bench", "shakespeare-cpu", "--out", tmp_path), 2, "is a folder", "bench.json")
    (tmp_path / "file").write_text("")
    assert_refused(lmlab("bench", "shakespeare-cpu", "--out", tmp_path / "file" / "bench"), 1, "choose another --out")


def test_a_flag_before_the_verb_and_a_setting_that_is_switched_off_are_answered_with_what_to_write(lmlab):
    assert_refused(lmlab("--json", "runs"), 2, "--json comes before the verb: write lmlab VERB --json")
    assert_refused(lmlab("train", "first", "--data.no-fresh"), 2, "there is no --data.no-fresh: write --data.fresh no")


def test_a_price_card_budget_or_name_that_cannot_be_is_refused_before_the_text_is_read(
    lmlab, small, tmp_path, monkeypatch
):
    assert lmlab(*small, "--run", "mine")[0] == 0

    def never(*words, **options):
        raise AssertionError("the text was read")

    monkeypatch.setattr("lmlab.experiment.asked.recipe_asked", never)
    text = small[1]
    for flag, value, said in (
        ("--price", "x", "is not a price"),
        ("--card", "nope", "there is no card 'nope'"),
        ("--budget", "soon", "is not a budget"),
    ):
        assert_refused(lmlab("plan", text, flag, value), 1, said)
    assert_refused(lmlab("train", text, "--run", "mine"), 1, "the run mine exists already")
    assert_refused(lmlab("train", text, "--run", "../x"), 1, "a run can't be named '../x'")
    assert_refused(lmlab("verify", str(tmp_path / "none.json")), 1, "there is no file", "explain.json")


def test_ctrl_c_outside_of_a_training_says_stopped(lmlab, monkeypatch):
    def interrupted(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr("lmlab.cli._dispatch", interrupted)
    status, output, errors = lmlab("runs")
    assert status == 3 and errors == "lmlab: stopped\n"
