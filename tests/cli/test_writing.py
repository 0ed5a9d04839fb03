"""`lmlab sample` and `lmlab chat` with a tiny random model in place of a run's."""

import builtins
import io
import json
import os
import signal
from types import SimpleNamespace

import pytest

from lmlab.data.tokenizers import build_tokenizer
from lmlab.generation.decoding import generate
from lmlab.generation.settings import Sampling
from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.recipe import GPT
from lmlab.recipe.data import Data


@pytest.fixture
def model(monkeypatch):
    """Stands in for the run `mine` at step 3; `model(prompt, ...)` is the text after a prompt."""

    tokenizer = build_tokenizer(Data(tokenizer="characters"), ["abcdef \n"])
    settings = GPT(layers=1, heads=2, width=16, context=64, positions="rotary", init="torch", tied=False)
    network = build_model(settings, tokenizer.vocabulary_size)
    initialise(network, 1)

    def complete(prompts, sampling, **hooks):
        return generate(network, tokenizer, prompts, sampling, **hooks)

    loaded = SimpleNamespace(
        run=SimpleNamespace(name="mine", template=lambda: None),
        step=3,
        model=network,
        tokenizer=tokenizer,
        warnings=(),
        complete=complete,
    )

    def load(target, runs, device):
        assert (target, device) == ("mine", "auto")
        return loaded

    monkeypatch.setattr("lmlab.experiment.loaded.load", load)
    return lambda prompt, **settings: complete([prompt], Sampling(**{"temperature": 0.8, **settings}))[0].text


@pytest.fixture
def chat(lmlab, monkeypatch):
    """`chat("line\\n...", "--tokens", "5")`: a chat with those lines on standard input, a pipe."""

    def call(lines, *words):
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        return lmlab("chat", "mine", *words)

    return call


@pytest.mark.parametrize("words", [[], ["--no-stream"]])
def test_a_sample_is_the_prompt_and_what_follows_streamed_or_not(lmlab, model, words):
    status, output, errors = lmlab("sample", "mine", "--prompt", "ab", "--tokens", "20", *words)
    assert (status, errors) == (0, "")
    assert output == "ab" + model("ab", tokens=20) + "\n"


def test_several_samples_are_parted_by_a_line(lmlab, model):
    _, output, _ = lmlab(
        "sample", "mine", "--prompt", "ab", "--prompt", "c", "--samples", "2", "--tokens", "9", "--seed", "4"
    )
    texts = output.split("-" * 40 + "\n")
    assert len(texts) == 4
    assert texts[0] == "ab" + model("ab", tokens=9, seed=4) + "\n" != texts[1]
    assert texts[2] == "c" + model("c", tokens=9, seed=4) + "\n"


def test_json_holds_every_text_and_the_speed(lmlab, model, tmp_path):
    (tmp_path / "prompts.txt").write_text("abc\n\ndef\n")
    words = ["--prompt", "a", "--prompts-file", tmp_path / "prompts.txt", "--tokens", "7", "--json"]
    status, output, _ = lmlab("sample", "mine", *words)
    value = json.loads(output)
    assert (status, value["run"], value["step"]) == (0, "mine", 3)
    assert [one["prompt"] for one in value["samples"]] == ["a", "abc", "def"]
    assert value["samples"][1] == {"prompt": "abc", "text": model("abc", tokens=7), "tokens": 7, "reason": "length"}
    assert value["tokens"] == 21
    assert value["tokens_per_second"] == pytest.approx(21 / value["seconds"])


def test_without_a_prompt_the_model_writes_all(lmlab, model):
    assert lmlab("sample", "mine", "--tokens", "5")[1] == model("", tokens=5) + "\n"


def test_a_stop_text_is_not_printed(lmlab, model):
    whole = model("ab", tokens=30)
    _, output, _ = lmlab("sample", "mine", "--prompt", "ab", "--tokens", "30", "--stop", whole[4:6])
    assert output == "ab" + whole.partition(whole[4:6])[0] + "\n"


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (["--samples", "0"], 2, "--samples 0"),
        (["--top-p", "2"], 1, "top_p 2.0"),
        (["--prompt", "aXb"], 1, "'X'"),
        (["--prompts-file", "no-such-file"], 1, "no-such-file"),
    ],
)
def test_bad_words_are_one_line_and_no_output(lmlab, model, words, status, part):
    answer = lmlab("sample", "mine", *words)
    assert answer[:2] == (status, "")
    assert part in answer[2] and answer[2].count("\n") == 1


def test_a_chat_continues_what_was_said(chat, model):
    status, output, _ = chat("ab\ncd\n", "--tokens", "6")
    first = model("ab\n", tokens=6)
    said = f"ab\n{first}"
    second = model(said + ("" if said.endswith("\n") else "\n") + "cd\n", tokens=6)
    assert (status, output) == (0, f"{first}\n{second}\n")


def test_retry_answers_again_with_the_next_seed_and_temperature_changes(chat, model):
    status, output, errors = chat("ab\n/retry\n/temperature 0\n/retry\n", "--tokens", "6", "--seed", "3")
    again = [model("ab\n", tokens=6, seed=seed) for seed in (3, 4)]
    greedy = model("ab\n", tokens=6, temperature=0.0)
    assert (status, output) == (0, "".join(f"{text}\n" for text in [*again, greedy]))
    assert errors.count("[6 tokens, ") == 3


@pytest.mark.parametrize(
    "line, part",
    [("/retry", "say something first"), ("/system x", "base model"), ("/temperature x", "a number"), ("/foo", "/help")],
)
def test_a_command_that_can_t_be_done_is_explained(chat, model, line, part):
    status, output, errors = chat(f"{line}\nab\n", "--tokens", "6")
    assert (status, output) == (0, model("ab\n", tokens=6) + "\n")
    assert "lmlab: " in errors and part in errors


def test_reset_forgets_and_quit_ends(chat, model):
    answer = model("ab\n", tokens=6)
    assert chat("ab\n/reset\nab\n/quit\ncd\n", "--tokens", "6")[:2] == (0, f"{answer}\n{answer}\n")


@pytest.mark.parametrize("lines", ["ab\\\ncd\n", "ab\\\ncd", "\n \nab\\\ncd\\"])
def test_a_backslash_continues_a_line_and_empty_lines_are_passed_over(chat, model, lines):
    assert chat(lines, "--tokens", "6")[1] == model("ab\ncd\n", tokens=6) + "\n"


def test_a_refused_line_is_explained_and_forgotten(chat, model):
    status, output, errors = chat("aXbY\n/help\nab\n", "--tokens", "6")
    assert (status, output) == (0, model("ab\n", tokens=6) + "\n")
    assert "'X' (U+0058), 'Y'" in errors
    assert errors.count("/reset") == 1


def test_ctrl_c_stops_the_answer_and_the_chat_goes_on(chat, model, monkeypatch):
    shown = []

    def show(*words, **settings):
        if settings.get("file") is not None:
            return
        shown.append("".join(words))
        if len(shown) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(builtins, "print", show)
    assert chat("ab\n/reset\nab\n", "--tokens", "10")[0] == 0
    monkeypatch.undo()
    whole = model("ab\n", tokens=10)
    # What was written before the interruption, at most a few tokens more, and then the second answer.
    first = "".join(shown).removesuffix(whole)
    assert shown[0] and first.startswith(shown[0]) and whole.startswith(first) and first != whole
