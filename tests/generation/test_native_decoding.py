"""Decoding in the CPU engine against the model in PyTorch and against PyTorch's decoding."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.data.tokenizers import build_tokenizer
from lmlab.generation import decoding, native
from lmlab.generation.decoding import generate
from lmlab.generation.draw import draw, likeliest, uniforms
from lmlab.generation.filters import filtered, penalise_repeats
from lmlab.generation.native import decoder_for
from lmlab.generation.settings import Sampling
from lmlab.model.build import build_model
from lmlab.model.native import native_engine
from lmlab.native import decoder as native_decoder
from lmlab.native.decoder import Decoder, Settings
from lmlab.native.library import load
from lmlab.recipe import GPT
from lmlab.recipe.data import Data
from tests.engine import engine_library

VOCABULARY = 37
ALL = {
    "layers": 3,
    "heads": 4,
    "kv_heads": 2,
    "width": 48,
    "context": 40,
    "positions": "rotary",
    "norm": "rmsnorm",
    "activation": "swiglu",
    "qk_norm": True,
    "softcap": 15.0,
    "value_residual": True,
    "embedding_skip": True,
    "tied": False,
    "head_bias": True,
    "ngrams": (2, 3),
    "ngram_rows": 500,
}
MODELS = {
    "gpt2": {"layers": 2, "heads": 4, "width": 32, "context": 32, "activation": "gelu_tanh"},
    "no biases": {"layers": 2, "heads": 2, "width": 32, "context": 20, "bias": False, "qkv_bias": False},
    "no width a whole number of vectors": {"layers": 2, "heads": 3, "width": 30, "hidden": 50, "context": 17},
    "rotary relu2": {
        "layers": 2,
        "heads": 2,
        "width": 20,
        "context": 100,
        "positions": "rotary",
        "activation": "relu2",
    },
    "one wide head": {"layers": 1, "heads": 1, "width": 72, "context": 50, "norm": "rmsnorm", "activation": "relu"},
    "all options": ALL,
    # Large enough to be divided among threads, unevenly.
    "three heads": {"layers": 2, "heads": 3, "width": 132, "context": 24, "activation": "gelu"},
    "all options, large": {**ALL, "width": 136, "hidden": 300},
}


@pytest.fixture(scope="module", autouse=True)
def _library():
    engine_library()


def build(vocabulary=VOCABULARY, seed=1, scale=0.2, **shape):
    """A model in float32 with no number left at its neutral value."""
    model = build_model(GPT(**shape), vocabulary)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.randn(parameter.shape, generator=generator) * scale
            parameter.copy_(1 + values if "norm.weight" in name else values)
    return model.eval()


def windows(model, lengths, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, model.vocabulary, (length,), generator=generator).tolist() for length in lengths]


def drawing(vocabulary=VOCABULARY, **changes):
    plain = {"temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "top_k": 0, "draft": 0}
    return Settings(**{**plain, "vocabulary": vocabulary, "end_of_text": -1, **changes})


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_the_model_s_forward_pass(name, threads):
    model = build(**MODELS[name])
    decoder = Decoder(native_engine(model, threads), 4, model.context)
    read = windows(model, [1, 2, model.context // 2, model.context])
    for row, window in enumerate(read):
        decoder.start(row, window, window, 1)
    found = decoder.logits([0, 1, 2, 3])
    for row, window in enumerate(read):
        expected = model(torch.tensor([window]))[0, -1]
        torch.testing.assert_close(torch.tensor(found[row]), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_token_at_a_time_gives_the_logits_of_the_model_s_cache(name):
    model = build(**MODELS[name])
    decoder = Decoder(native_engine(model, 2), 2, model.context)
    first, second = windows(model, [3, 6])
    for row, window in enumerate([first, second]):
        decoder.start(row, window, window, 10)
    cache = model.start_cache(2, model.context)
    logits = model.advance(torch.tensor([first + [0] * 3, second]), cache, [3, 6])
    for _ in range(8):
        torch.testing.assert_close(torch.tensor(decoder.logits([0, 1])), logits, rtol=0, atol=1e-4)
        # The second row's numbers pick the least likely tokens, the first one's the likeliest.
        tokens = decoder.write([0, 1], drawing(), np.array([[0.0], [0.999999]]))
        logits = model.advance(torch.tensor(tokens), cache)


@pytest.mark.parametrize("name", ["gpt2", "all options"])
def test_tokens_that_are_appended_give_the_logits_of_the_window_also_once_it_is_cut(name):
    model = build(**MODELS[name])
    decoder = Decoder(native_engine(model, 2), 3, model.context)
    texts = windows(model, [3, model.context - 2])
    for row, window in enumerate(texts):
        decoder.start(row, window, [], 0)
    for token in range(8):
        decoder.logits([0, 1])
        decoder.append([1, 0], [token, token + 1])
        texts[1].append(token)
        texts[0].append(token + 1)
        if len(texts[1]) > model.context:
            texts[1] = texts[1][-(model.context // 2) :]
    found = decoder.logits([0, 1])
    for row, window in enumerate(texts):
        decoder.start(2, window, [], 0)
        assert (decoder.logits([2])[0] == found[row]).all()
    with pytest.raises(LabError, match="the whole context"):
        Decoder(native_engine(model, 2), 1, 4).append([0], [1])


@pytest.mark.bitwise
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_s_logits_are_bit_for_bit_the_same_alone_in_a_batch_and_however_they_were_reached(threads):
    model = build(**MODELS["all options, large"])
    decoder = Decoder(native_engine(model, threads), 20, model.context)
    read = windows(model, [1 + row for row in range(20)])
    for row, window in enumerate(read):
        decoder.start(row, window, window, 1)
    together = decoder.logits(list(range(20)))
    for row, window in enumerate(read):
        decoder.start(0, window, window, 1)
        assert (decoder.logits([0])[0] == together[row]).all()
    decoder.start(0, read[4], read[4], 15)
    written = decoder.write([0], drawing(), uniforms("key", 0, 15).reshape(1, 15))[0]
    decoder.start(1, read[4] + written, [], 1)
    assert (decoder.logits([0]) == decoder.logits([1])).all()


def test_numbers_that_are_none_leave_nothing_behind():
    model = build(**ALL)
    decoder = Decoder(native_engine(model, 2), 2, model.context)
    long, short = windows(model, [30, 3])
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight[:, 0] = math.nan
    decoder.refresh()
    decoder.start(0, long, long, 1)
    assert not np.isfinite(decoder.logits([0])).any()
    healthy = build(**ALL)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(healthy.get_parameter(name))
    decoder.refresh()
    decoder.start(0, short, short, 1)
    fresh = Decoder(native_engine(healthy, 2), 1, model.context)
    fresh.start(0, short, short, 1)
    assert (decoder.logits([0]) == fresh.logits([0])).all()


@settings(max_examples=150)
@given(
    st.lists(st.floats(-6, 6, width=32), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    st.integers(0, 12),
    st.sampled_from([1.0, 0.9, 0.5, 0.05]),
    st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    st.sampled_from([1.0, 1.3, 0.7]),
    st.floats(0, 1, exclude_max=True),
    st.sets(st.integers(0, 39)),
)
def test_the_same_token_is_drawn_from_the_same_logits(row, temperature, top_k, top_p, min_p, penalty, number, seen):
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=penalty)
    seen = {token for token in seen if token < len(row)}
    logits = torch.tensor([row])
    marks = torch.zeros(logits.shape, dtype=torch.bool)
    marks[0, list(seen)] = True
    if temperature == 0.0:
        expected = likeliest(penalise_repeats(logits, marks, penalty)).item()
    else:
        expected = draw(filtered(logits, marks, sampling), [number]).item()
    words = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "repetition_penalty": penalty}
    found = native_decoder.draw(load().functions, logits[0].numpy(), seen, drawing(len(row), **words), number)
    assert found == expected


@pytest.mark.parametrize("number", [0.0, 0.5, 1 - 2.0**-53])
def test_a_token_of_probability_zero_is_never_drawn(number):
    logits = np.full(9, -math.inf, dtype=np.float32)
    logits[[3, 5]] = 0.3, 0.1
    assert native_decoder.draw(load().functions, logits, set(), drawing(9), number) in (3, 5)


def test_equally_likely_tokens_are_kept_from_the_lowest_id_on():
    logits = np.zeros(10, dtype=np.float32)
    words = drawing(10, top_p=0.35)
    found = {native_decoder.draw(load().functions, logits, set(), words, number / 100) for number in range(100)}
    assert found == {0, 1, 2, 3}


@pytest.mark.bitwise
def test_chunks_of_any_size_give_the_same_tokens():
    model = build(**ALL)
    numbers = uniforms("key", 0, 60).reshape(2, 30)
    found = []
    for sizes in ([30], [1, 2, 27], [7, 7, 7, 9]):
        decoder = Decoder(native_engine(model, 2), 2, model.context)
        for row, window in enumerate(windows(model, [3, 30])):
            decoder.start(row, window, window, 30)
        texts, first = [[], []], 0
        for size in sizes:
            for text, tokens in zip(
                texts,
                decoder.write([0, 1], drawing(), np.ascontiguousarray(numbers[:, first : first + size])),
                strict=True,
            ):
                text += tokens
            first += size
        found.append(texts)
    assert found[0] == found[1] == found[2]
    assert [len(text) for text in found[0]] == [30, 30]


@pytest.mark.bitwise
def test_a_copied_row_goes_on_as_one_that_read_for_itself():
    model = build(**ALL)
    decoder = Decoder(native_engine(model, 2), 3, model.context)
    window = windows(model, [20])[0]
    for row in range(3):
        decoder.start(row, window, window, 10)
    decoder.read([0])
    decoder.copy(0, 2)
    first, second, third = decoder.logits([0, 1, 2])
    assert (first == second).all()
    assert (first == third).all()


@pytest.fixture(scope="module")
def characters():
    return build_tokenizer(Data(tokenizer="characters"), ["abcdef \n"])


@pytest.fixture(scope="module")
def byte_tokens():
    return build_tokenizer(Data(tokenizer="bytes"), [], documents_end=True)


PROMPTS = ["a", "", "fed a bed\nabc", "a", "abc def " * 4]
SAMPLINGS = {
    "greedy": Sampling(temperature=0.0, tokens=40),
    "drawn": Sampling(temperature=0.8, tokens=40, seed=5),
    "filtered": Sampling(tokens=40, top_k=6, top_p=0.9, min_p=0.05, repetition_penalty=1.3),
    "stopped": Sampling(tokens=40, stop=("ab", "\nc", "d f")),
}
SHORT = {**ALL, "context": 21}


def summary(completions):
    return [(one.prompt, one.text, one.tokens, one.reason) for one in completions]


def in_pytorch(monkeypatch, *words, **hooks):
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "native_texts", lambda *_: None)
        return generate(*words, **hooks)


@pytest.mark.parametrize("name", SAMPLINGS)
def test_texts_are_those_of_pytorch_also_past_the_context(name, characters, monkeypatch):
    model = build(characters.vocabulary_size, **SHORT)
    expected = in_pytorch(monkeypatch, model, characters, PROMPTS, SAMPLINGS[name])
    assert summary(generate(model, characters, PROMPTS, SAMPLINGS[name])) == summary(expected)


@pytest.mark.parametrize("draft", [0, 5])
def test_the_end_of_text_ends_a_text(draft, byte_tokens, monkeypatch):
    model = build(byte_tokens.vocabulary_size, **SHORT)
    with torch.no_grad():
        model.head.bias[byte_tokens.end_of_text] += 2
    sampling = Sampling(tokens=30, draft=draft)
    found = generate(model, byte_tokens, ["ab"] * 6, sampling)
    assert {one.reason for one in found} == {"end_of_text", "length"}
    assert summary(found) == summary(in_pytorch(monkeypatch, model, byte_tokens, ["ab"] * 6, sampling))


@pytest.mark.parametrize("context", [2, 3, 8])
def test_tiny_contexts_move_their_window_as_in_pytorch(context, characters, monkeypatch):
    model = build(characters.vocabulary_size, **{**ALL, "context": context})
    sampling = Sampling(tokens=20, seed=3)
    expected = in_pytorch(monkeypatch, model, characters, PROMPTS, sampling)
    assert summary(generate(model, characters, PROMPTS, sampling)) == summary(expected)


@pytest.mark.bitwise
@pytest.mark.parametrize("name", SAMPLINGS)
def test_a_text_is_the_same_alone_and_among_others(name, characters):
    model = build(characters.vocabulary_size, **ALL)
    different = list(dict.fromkeys(PROMPTS))
    together = summary(generate(model, characters, different, SAMPLINGS[name]))
    assert together == [summary(generate(model, characters, [one], SAMPLINGS[name]))[0] for one in different]


@pytest.mark.parametrize("engine", [pytest.param("native", marks=pytest.mark.bitwise), "pytorch"])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_guessing_ahead_changes_no_text(name, engine, characters, monkeypatch):
    # Where logits are small, one token is as likely as another and guesses fail; where they're large, texts repeat.
    for scale in (0.1, 0.3):
        model = build(characters.vocabulary_size, scale=scale, **SHORT)
        if engine == "pytorch":
            model = model.double()
        plain = summary(generate(model, characters, PROMPTS, SAMPLINGS[name]))
        for draft in (1, 5):
            sampling = Sampling(**{**vars(SAMPLINGS[name]), "draft": draft})
            assert summary(generate(model, characters, PROMPTS, sampling)) == plain


def test_right_guesses_save_readings(characters, monkeypatch):
    model = build(characters.vocabulary_size, **{**ALL, "context": 100}).double()
    read = []
    stream = model.stream
    monkeypatch.setattr(model, "stream", lambda *words: read.append(words[0].shape) or stream(*words))
    texts = []
    for draft in (0, 8):
        read.clear()
        texts.append(generate(model, characters, ["a"], Sampling(temperature=0.0, tokens=90, draft=draft))[0].text)
        texts.append(len(read))
    assert texts[0] == texts[2]
    assert texts[1] == 90
    # Greedy text of a random model soon goes round in circles.
    assert texts[3] < 50


def test_streamed_pieces_join_to_each_text_and_the_first_comes_early(byte_tokens):
    model = build(byte_tokens.vocabulary_size, **ALL)
    pieces = {number: [] for number in range(3)}
    completions = generate(
        model, byte_tokens, ["é"] * 3, Sampling(tokens=100), on_text=lambda number, text: pieces[number].append(text)
    )
    assert [one.text for one in completions] == ["".join(pieces[number]) for number in range(3)]
    assert all(pieces[number] for number in range(3))
    assert len(completions[0].text) > 20 > len(pieces[0][0])


def test_the_caller_can_stop_all_texts_where_they_are(characters):
    model = build(characters.vocabulary_size, **ALL)
    free = generate(model, characters, ["ab", "c"], Sampling(tokens=90))
    asked = iter(range(100))
    stopped = generate(model, characters, ["ab", "c"], Sampling(tokens=90), stop_requested=lambda: next(asked) == 2)
    assert [one.reason for one in stopped] == ["stopped", "stopped"]
    assert [one.text for one in stopped] == [one.text[: stopped[0].tokens] for one in free]
    assert 0 < stopped[0].tokens < 90


def test_a_diverged_model_is_an_error_in_one_line(characters):
    model = build(characters.vocabulary_size, **ALL)
    with torch.no_grad():
        model.norm.weight[3] = math.nan
    with pytest.raises(LabError, match="no finite numbers"):
        generate(model, characters, ["ab"], Sampling(tokens=9))


def test_the_weights_are_those_of_the_moment(characters, monkeypatch):
    model = build(characters.vocabulary_size, **ALL)
    sampling = Sampling(temperature=0.0, tokens=20)
    before = generate(model, characters, ["ab"], sampling)[0].text
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-0.9)
    after = generate(model, characters, ["ab"], sampling)[0].text
    assert before != after == in_pytorch(monkeypatch, model, characters, ["ab"], sampling)[0].text


def test_a_model_that_the_engine_hasn_t_is_decoded_by_pytorch(characters, monkeypatch):
    model = build(characters.vocabulary_size, **ALL)
    assert decoder_for(model, 1, 8) is not None
    assert decoder_for(model.double(), 1, 8) is None
    monkeypatch.setattr(native, "native_engine", lambda _: None)
    assert decoder_for(model.float(), 1, 8) is None


def test_what_a_decoder_has_no_room_for_is_refused():
    model = build(**ALL)
    engine = native_engine(model, 1)
    with pytest.raises(LabError, match="context of 40"):
        Decoder(engine, 1, 41)
    decoder = Decoder(engine, 1, 8)
    with pytest.raises(LabError, match="at most 8"):
        decoder.start(0, [1] * 5, [], 5)
    with pytest.raises(LabError, match="expected 0 to 36"):
        decoder.start(0, [37], [], 1)
    with pytest.raises(LabError, match="tokens to draw from"):
        decoder.write([0], drawing(38), np.zeros((1, 1)))
