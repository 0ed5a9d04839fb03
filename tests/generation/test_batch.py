"""Continuous batching against `generate`, whose texts it must write whoever shares the batch, and against full forward passes."""

import pytest
import torch

from lmlab import LabError
from lmlab.generation.batch import Batch
from lmlab.generation.choice import Text
from lmlab.generation.decoding import generate
from lmlab.generation.prompt_scores import score_prompt
from lmlab.generation.settings import Sampling
from lmlab.generation.slots import NativeSlots, TorchSlots, slots_for
from lmlab.generation.spelling import spelling_of
from lmlab.generation.writer import Writer
from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.recipe.model import GPT, Context
from tests.engine import engine_library

PROMPTS = ["a", "bad cafe", "fed a bed\nabc", "deaf cab ", "bad cafe", "c" * 16]
SETTINGS = [
    Sampling(tokens=40, temperature=0.0),
    Sampling(tokens=25, seed=4),
    Sampling(tokens=9, top_k=3, temperature=1.3),
    Sampling(tokens=30, top_p=0.8, repetition_penalty=1.4),
    Sampling(tokens=12, min_p=0.05, seed=4),
    Sampling(tokens=40, stop=("ab", "f")),
]


def text_of(model, tokenizer, prompt, sampling, sample=0, **more):
    ids = tokenizer.encode(prompt).tolist()
    writer = Writer(0, prompt, ids, 0, sample, model.context, sampling, spelling_of(tokenizer))
    return Text(writer=writer, sampling=sampling, **more)


def written(batch, texts, joins):
    """Let text number i join at step joins[i]; return the (pieces, tokens) of each."""
    pieces, tokens = {text: "" for text in texts}, {text: [] for text in texts}
    waiting, step = list(zip(joins, texts, strict=True)), 0
    while waiting or batch.texts:
        for one in [one for one in waiting if one[0] <= step][: batch.free]:
            batch.join(one[1])
            waiting.remove(one)
        for one in batch.step():
            pieces[one.text] += one.piece
            tokens[one.text].append(one)
        step += 1
    return [(pieces[text], tokens[text]) for text in texts]


@pytest.fixture(params=["engine", "torch", "double", "context"])
def model(request, characters, build):
    """A GPT by each engine and precision, and a recurrent model; their windows of 16 tokens are soon full."""
    if request.param == "double":
        return build(characters)
    shape = GPT(layers=2, heads=2, width=16, context=16, positions="rotary", init="torch", tied=False)
    if request.param == "context":
        shape = Context(layers=2, width=16, vector=16, hidden=32, context=16)
    made = build_model(shape, characters.vocabulary_size)
    initialise(made, 3)
    with torch.no_grad():
        made.head.weight.mul_(5)
    if request.param == "engine":
        engine_library()
        assert isinstance(slots_for(made, 1), NativeSlots)
    else:
        made.engine = "torch"
        assert isinstance(slots_for(made, 1), TorchSlots)
    return made.eval()


@pytest.mark.parametrize(
    ("rows", "joins"), [(6, (0, 0, 0, 0, 0, 0)), (6, (0, 3, 3, 7, 20, 21)), (2, (9, 0, 30, 2, 2, 1))]
)
def test_a_text_has_the_tokens_of_generate_whoever_shares_the_batch_and_whenever_it_joins(
    model, characters, joins, rows
):
    alone = [
        generate(model, characters, [prompt], sampling)[0] for prompt, sampling in zip(PROMPTS, SETTINGS, strict=True)
    ]
    texts = [text_of(model, characters, prompt, own) for prompt, own in zip(PROMPTS, SETTINGS, strict=True)]
    found = written(Batch(model, characters.vocabulary_size, rows), texts, joins)
    for expected, text, (pieces, tokens) in zip(alone, texts, found, strict=True):
        assert pieces == expected.text
        assert (len(tokens), text.writer.reason) == (expected.tokens, expected.reason)


def test_samples_of_a_prompt_are_those_of_generate(model, characters):
    sampling = Sampling(tokens=20)
    texts = [text_of(model, characters, "abc", sampling, sample) for sample in range(4)]
    found = written(Batch(model, characters.vocabulary_size, 4), texts, [0] * 4)
    together = generate(model, characters, ["abc"] * 4, sampling)
    assert [pieces for pieces, _ in found] == [one.text for one in together]
    assert len({pieces for pieces, _ in found}) == 4


def test_each_token_s_log_probability_is_that_of_a_full_forward_pass(model, characters):
    texts = [
        text_of(model, characters, prompt, Sampling(tokens=30, seed=seed), alternatives=seed % 4)
        for seed, prompt in enumerate(PROMPTS)
    ]
    found = written(Batch(model, characters.vocabulary_size, 6), texts, [0, 1, 5, 2, 9, 3])
    for text, (_, tokens) in zip(texts, found, strict=True):
        window = characters.encode(text.writer.prompt).tolist()
        for one in tokens:
            if len(window) > model.context:
                window = window[-(model.context // 2) :]
            with torch.inference_mode():
                logprobs = model(torch.tensor([window]))[0, -1].double().log_softmax(-1)
            assert one.scored.logprob == pytest.approx(float(logprobs[one.token]), abs=1e-5)
            assert len(one.scored.alternatives) == text.alternatives
            best = logprobs.topk(text.alternatives).values.tolist()
            assert [value for _, value in one.scored.alternatives] == pytest.approx(best, abs=1e-5)
            window.append(one.token)


def test_a_bias_is_added_before_all_else_and_changes_no_log_probability(model, characters):
    banned, forced = characters.encode("ab").tolist()
    sampling = Sampling(tokens=30, temperature=0.0)
    texts = [
        text_of(model, characters, "cab", sampling, bias={forced: 100.0}, alternatives=0),
        text_of(model, characters, "cab", Sampling(tokens=30), bias={banned: -100.0}),
        text_of(model, characters, "cab", sampling),
    ]
    batch = Batch(model, characters.vocabulary_size, 3)
    (pieces, tokens), (without, _), (plain, _) = written(batch, texts, [0, 0, 0])
    assert pieces == "b" * 30
    assert "a" not in without
    assert plain == generate(model, characters, ["cab"], sampling)[0].text
    with torch.inference_mode():
        first = model(torch.tensor([characters.encode("cab").tolist()]))[0, -1].double().log_softmax(-1)
    assert tokens[0].scored.logprob == pytest.approx(float(first[forced]), abs=1e-5)


def test_a_text_that_leaves_before_its_end_changes_no_other(model, characters):
    texts = [text_of(model, characters, prompt, Sampling(tokens=20)) for prompt in PROMPTS[:3]]
    batch = Batch(model, characters.vocabulary_size, 3)
    for text in texts:
        batch.join(text)
    pieces = [one.piece for one in batch.step() if one.text is texts[2]]
    batch.leave(texts[0])
    batch.leave(texts[1])
    assert batch.free == 2
    while batch.texts:
        pieces += [one.piece for one in batch.step()]
    assert "".join(pieces) == generate(model, characters, [PROMPTS[2]], Sampling(tokens=20))[0].text


def test_a_full_batch_and_a_draft_are_refused(model, characters):
    batch = Batch(model, characters.vocabulary_size, 1)
    with pytest.raises(LabError, match="draft"):
        batch.join(text_of(model, characters, "a", Sampling(draft=2)))
    batch.join(text_of(model, characters, "a", Sampling()))
    with pytest.raises(LabError, match="full"):
        batch.join(text_of(model, characters, "b", Sampling()))


def test_a_prompt_s_log_probabilities_are_those_of_its_beginnings(model, characters, monkeypatch):
    monkeypatch.setattr("lmlab.generation.prompt_scores.LOGITS_AT_ONCE", 3 * model.vocabulary)
    ids = characters.encode("a bad cafe").tolist()
    found = score_prompt(model, ids, characters.vocabulary_size, 2)
    assert [one.token for one in found] == ids[1:]
    for place, one in enumerate(found, 1):
        with torch.inference_mode():
            logprobs = model(torch.tensor([ids[:place]]))[0, -1].double().log_softmax(-1)
        assert one.logprob == pytest.approx(float(logprobs[ids[place]]), abs=1e-5)
        assert [token for token, _ in one.alternatives] == logprobs.topk(2).indices.tolist()
    assert score_prompt(model, ids[:1], characters.vocabulary_size, 2) == []
