"""Generation against a loop that reads the whole window again for every token."""

import pytest
import torch

from lmlab import LabError
from lmlab.data.tokenizers import build_tokenizer
from lmlab.generation import decoding
from lmlab.generation.decoding import generate
from lmlab.generation.draw import draw, stream_key, uniform
from lmlab.generation.settings import Sampling
from lmlab.recipe.data import Data

PROMPTS = ["a", "bad cafe", "", "fed a bed\nabc", "deaf cab "]


def slowly(model, tokenizer, prompt, tokens, temperature=0.0, seed=1, sample=0):
    """The ids written: no cache, one row; a window that is full goes on from its recent half."""
    ids = tokenizer.encode(prompt).tolist()
    window = ids[-model.context :] or [tokenizer.end_of_text or tokenizer.encode("\n").tolist()[0]]
    written = []
    for position in range(tokens):
        if len(window) > model.context:
            window = window[-(model.context // 2) :]
        with torch.inference_mode():
            logits = model(torch.tensor([window]))[:, -1]
        if temperature == 0.0:
            token = int(logits.argmax())
        else:
            token = int(draw(logits / temperature, [uniform(stream_key(seed, ids, sample), position)]))
        written.append(token)
        window.append(token)
        if token == tokenizer.end_of_text:
            break
    return written


@pytest.mark.parametrize("positions", ["rotary", "learned"])
@pytest.mark.parametrize("tokens", [5, 40])
def test_greedy_text_is_that_of_a_full_recomputation_also_past_the_context(build, characters, positions, tokens):
    model = build(characters, positions=positions)
    prompts = [*PROMPTS, "abc def " * 5]
    completions = generate(model, characters, prompts, Sampling(temperature=0.0, tokens=tokens))
    for prompt, completion in zip(prompts, completions, strict=True):
        assert completion.text == characters.decode(slowly(model, characters, prompt, tokens))
        assert (completion.prompt, completion.tokens, completion.reason) == (prompt, tokens, "length")
        assert completion.seconds > 0


def test_a_token_that_begins_every_text_is_read_before_each_prompt_and_not_shown(build, characters):
    model = build(characters)
    found = generate(
        model, characters, PROMPTS, Sampling(temperature=0.0, tokens=9), begin=characters.encode("f").tolist()[0]
    )
    for prompt, completion in zip(PROMPTS, found, strict=True):
        assert completion.text == characters.decode(slowly(model, characters, f"f{prompt}", 9))
        assert completion.prompt == prompt


def test_a_prompt_of_tokens_is_read_as_it_is(build, characters):
    model, ids = build(characters), characters.encode("bad cafe").tolist()
    sampling = Sampling(tokens=12, seed=3)
    by_text, by_tokens = generate(model, characters, ["bad cafe", ids], sampling)
    assert by_tokens.text == generate(model, characters, ["bad cafe"] * 2, sampling)[1].text
    assert generate(model, characters, [ids], sampling, begin=0)[0].text == by_text.text
    assert by_tokens.prompt == "bad cafe"


def test_drawn_text_is_that_of_a_full_recomputation(build, byte_tokens):
    model = build(byte_tokens)
    prompts = ["né", "a longer prompt than that, longer than the context", "", "né"]
    completions = generate(model, byte_tokens, prompts, Sampling(temperature=0.7, tokens=40, seed=9))
    for prompt, sample, completion in zip(prompts, (0, 0, 0, 1), completions, strict=True):
        ids = slowly(model, byte_tokens, prompt, 40, temperature=0.7, seed=9, sample=sample)
        assert completion.text == byte_tokens.decode(ids)


def test_a_text_is_the_same_alone_and_among_others(build, characters):
    model = build(characters)
    sampling = Sampling(tokens=30, repetition_penalty=1.2, top_p=0.9)
    together = generate(model, characters, PROMPTS, sampling)
    assert [one.text for one in together] == [generate(model, characters, [p], sampling)[0].text for p in PROMPTS]


def test_more_texts_than_fit_at_once_are_written_in_turns(build, characters, monkeypatch):
    model = build(characters)
    prompts = ["ab", "ab", "c", "ab", "dead"]
    expected = [one.text for one in generate(model, characters, prompts, Sampling(tokens=12))]
    monkeypatch.setattr(decoding, "ROWS_AT_ONCE", 2)
    assert [one.text for one in generate(model, characters, prompts, Sampling(tokens=12))] == expected


def test_samples_of_a_prompt_differ_and_the_seed_decides_them(build, characters):
    model = build(characters)

    def texts(seed):
        return [one.text for one in generate(model, characters, ["ab"] * 4, Sampling(tokens=20, seed=seed))]

    assert len(set(texts(1))) == 4
    assert texts(1) == texts(1)
    assert not set(texts(1)) & set(texts(2))


def test_text_ends_before_a_stop_string_and_no_part_of_it_is_streamed(build, characters):
    model = build(characters)
    whole = generate(model, characters, ["ab"], Sampling(tokens=40))[0].text
    stop = whole[10:13]
    pieces = []
    sampling = Sampling(tokens=40, stop=("never", stop))
    completion = generate(model, characters, ["ab"], sampling, on_text=lambda _, text: pieces.append(text))[0]
    assert completion.text == "".join(pieces) == whole[: whole.index(stop)]
    assert completion.reason == "stop"
    assert completion.tokens == whole.index(stop) + len(stop)


def test_a_stop_string_of_one_text_leaves_the_others_alone(build, characters):
    model = build(characters)
    free = generate(model, characters, PROMPTS, Sampling(tokens=24))
    stop = free[0].text[3:6]
    stopped = generate(model, characters, PROMPTS, Sampling(tokens=24, stop=(stop,)))
    assert stopped[0].reason == "stop"
    assert [one.text for one in stopped] == [one.text.partition(stop)[0] for one in free]


def test_the_end_of_text_ends_a_text_and_stands_for_nothing(build, byte_tokens):
    model = build(byte_tokens)
    with torch.no_grad():
        model.head.bias[byte_tokens.end_of_text] += 2
    completions = generate(model, byte_tokens, ["ab"] * 8, Sampling(tokens=60))
    ended = [one for one in completions if one.reason == "end_of_text"]
    assert ended
    for sample, completion in enumerate(completions):
        ids = slowly(model, byte_tokens, "ab", 60, temperature=1.0, sample=sample)
        assert completion.text == byte_tokens.decode(ids)
        assert completion.tokens == len(ids)
        assert (completion.reason == "end_of_text") == (ids[-1] == byte_tokens.end_of_text)


def test_streamed_pieces_of_bytes_join_to_each_text(build, byte_tokens):
    model = build(byte_tokens)
    pieces = {number: "" for number in range(6)}

    def listen(number, text):
        assert text
        pieces[number] += text

    completions = generate(model, byte_tokens, ["é"] * 6, Sampling(tokens=50), on_text=listen)
    assert [one.text for one in completions] == [pieces[number] for number in range(6)]


def test_the_caller_can_stop_all_texts_where_they_are(build, characters):
    model = build(characters)
    free = generate(model, characters, ["ab", "c"], Sampling(tokens=20))
    asked = iter(range(100))
    stopped = generate(model, characters, ["ab", "c"], Sampling(tokens=20), stop_requested=lambda: next(asked) == 7)
    assert [one.reason for one in stopped] == ["stopped", "stopped"]
    assert [one.text for one in stopped] == [one.text[:7] for one in free]


@pytest.mark.parametrize("mode", [True, False])
def test_dropout_is_off_and_the_model_s_mode_restored_even_after_an_error(build, characters, mode):
    model = build(characters)
    expected = generate(model, characters, ["ab"], Sampling(tokens=10))
    model.train(mode)
    assert generate(model, characters, ["ab"], Sampling(tokens=10))[0].text == expected[0].text
    assert model.training is mode

    def fail(number, text):
        raise ValueError

    with pytest.raises(ValueError):
        generate(model, characters, ["ab"], Sampling(tokens=10), on_text=fail)
    assert model.training is mode
    model.eval()


def test_all_symbols_that_the_tokenizer_refuses_are_named(build, characters):
    with pytest.raises(LabError, match=r"'X' \(U\+0058\), U\+0009, '☃' \(U\+2603\)"):
        generate(build(characters), characters, ["aXb\t", "ok☃X"[2:], "ab"])


def test_a_tokenizer_that_replaces_refuses_nothing(build):
    tokenizer = build_tokenizer(Data(tokenizer="characters", unknown="replace"), ["abc"])
    assert generate(build(tokenizer), tokenizer, ["aXb"], Sampling(tokens=3))[0].tokens == 3


@pytest.mark.parametrize(("alphabet", "start"), [("abc\n", "\n"), ("abc", "a")])
def test_an_empty_prompt_starts_from_a_newline_or_else_token_0(build, alphabet, start):
    tokenizer = build_tokenizer(Data(tokenizer="characters"), [alphabet])
    model = build(tokenizer)
    sampling = Sampling(temperature=0.0, tokens=10)
    empty, explicit = generate(model, tokenizer, ["", start], sampling)
    assert (empty.prompt, empty.text) == ("", explicit.text)


def test_the_penalty_falls_on_the_tokens_of_the_prompt_and_on_those_written(build, characters):
    model, penalty = build(characters), 4.0
    window = characters.encode("ab").tolist()
    for _ in range(12):
        with torch.inference_mode():
            logits = model(torch.tensor([window]))[0, -1].tolist()
        for token in set(window):
            logits[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
        window.append(max(range(len(logits)), key=logits.__getitem__))
    sampling = Sampling(temperature=0.0, tokens=12, repetition_penalty=penalty)
    text = generate(model, characters, ["ab"], sampling)[0].text
    assert text == characters.decode(window[2:])
    assert text != generate(model, characters, ["ab"], Sampling(temperature=0.0, tokens=12))[0].text


def test_no_prompts_give_no_texts_and_a_lone_string_is_refused(build, characters):
    model = build(characters)
    assert generate(model, characters, []) == []
    with pytest.raises(LabError, match="one text"):
        generate(model, characters, "abc")
