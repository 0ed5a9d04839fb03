"""Log-probabilities of answers: equal to those of one sequence after the other; bytes and probabilities add up."""

import math

import numpy as np
import pytest
import torch

from lmlab import LabError
from lmlab.data.tokenizers.bpe import learn_bpe
from lmlab.data.tokenizers.bytes import Bytes
from lmlab.data.tokenizers.characters import Characters
from lmlab.data.tokenizers.words import Words
from lmlab.evaluation.tasks import Item, Option, same_prompt
from lmlab.evaluation.tasks.encoding import Encoder, encode_items
from lmlab.evaluation.tasks.groups import Request, batches_of, groups_of, readings_of, work_of
from lmlab.evaluation.tasks.scoring import Scorer, score
from lmlab.model.build import build_model
from lmlab.model.gpt import GPTModel
from lmlab.model.native import native_engine
from lmlab.recipe import GPT, Context
from tests.engine import engine_library

CPU = torch.device("cpu")
VOCABULARY, CONTEXT = 40, 24
TEXT = "The naïve painter draws “home” — seven   blue doors, 123 ways.\n\nAn é and a 日本 word 🙂 end it.\t"
MODELS = {
    "plain": GPT(layers=2, heads=2, width=16, context=CONTEXT),
    "all options": GPT(
        layers=3,
        heads=4,
        kv_heads=2,
        width=16,
        context=CONTEXT,
        positions="rotary",
        ngrams=(2, 3),
        ngram_rows=61,
        value_residual=True,
        embedding_skip=True,
        qk_norm=True,
        softcap=5.0,
        tied=False,
    ),
    "context": Context(layers=2, width=16, hidden=16, vector=16, context=CONTEXT),
}


def model_of(config, vocabulary=VOCABULARY):
    model = build_model(config, vocabulary)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return model.eval()


def scorer_of(name, method):
    model = model_of(MODELS[name])
    engine = None
    if method == "engine":
        engine_library()
        engine = native_engine(model)
        assert engine is not None
    return Scorer(model=model, device=CPU, engine=engine, method=method)


def requests(questions=30, seed=0):
    """Of random questions with one to four answers, some of which are equal, part of another, or the whole context long."""
    generator = np.random.default_rng(seed)
    found = []
    for group in range(questions):
        prompt = generator.integers(0, VOCABULARY, generator.integers(1, CONTEXT // 2))
        for _ in range(generator.integers(1, 5)):
            answer = generator.integers(0, VOCABULARY, generator.integers(1, CONTEXT // 2))
            tokens = np.concatenate([prompt, answer])
            first = 1 if generator.random() < 0.3 else len(prompt)
            found.append(Request(tokens=tokens, first=first, group=group))
    longest = generator.integers(0, VOCABULARY, CONTEXT + 1)
    found += [Request(tokens=longest, first=1, group=99), Request(tokens=longest, first=CONTEXT, group=100)]
    return [*found, found[0], Request(tokens=found[0].tokens[:-1], first=found[0].first, group=0)]


def likeliest(model):
    """Three requests whose answers are what the model would write."""
    found = []
    for begin in (1, 2, 3):
        tokens = [begin, 5]
        for _ in range(4):
            with torch.no_grad():
                tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
        found.append(Request(tokens=np.array(tokens), first=2, group=1000))
    return found


def one_by_one(model, wanted):
    nats, greedy = [], []
    for request in wanted:
        with torch.no_grad():
            logits = model(torch.from_numpy(request.tokens[None, :-1]))[0].double()
        scored = range(request.first, len(request.tokens))
        chances = torch.log_softmax(logits, dim=-1)
        nats.append(-sum(float(chances[place - 1, request.tokens[place]]) for place in scored))
        greedy.append(all(int(logits[place - 1].argmax()) == request.tokens[place] for place in scored))
    return np.array(nats), np.array(greedy)


@pytest.mark.parametrize(
    "name, method",
    [("plain", "engine"), ("plain", "shared"), ("plain", "whole"), ("all options", "engine"), ("all options", "shared")]
    + [("context", "whole")],
)
def test_scores_equal_those_of_one_sequence_after_the_other(name, method, monkeypatch):
    monkeypatch.setattr("lmlab.evaluation.tasks.scoring.TOKENS_AT_ONCE", {"cpu": 150})
    monkeypatch.setattr("lmlab.evaluation.tasks.scoring.LOGIT_BYTES", 4 * VOCABULARY * 60)
    scorer = scorer_of(name, method)
    wanted = [*requests(), *likeliest(scorer.model)]
    nats, greedy = one_by_one(scorer.model, wanted)
    found = score(scorer, wanted)
    np.testing.assert_allclose(found.nats, nats, atol=1e-5)
    assert found.greedy.tolist() == greedy.tolist()
    assert greedy[-3:].all()


def test_common_beginnings_are_read_once():
    prompt = np.arange(10)
    answers = [[20, 21, 22], [20, 23], [24]]
    wanted = [Request(tokens=np.array([*prompt, *answer]), first=10, group=0) for answer in answers]
    readings = readings_of(wanted)
    work = work_of(wanted, readings, groups_of(wanted, readings))
    # The inputs are the prompt and all of an answer but its last token: 12, 11 and 10, of which 10 are common.
    assert (work.one_by_one, work.shared, work.scored) == (33, 10 + 2 + 1, 6)


def test_answers_that_differ_in_their_last_token_cost_as_much_as_one():
    wanted = [Request(tokens=np.array([*range(10), last]), first=10, group=0) for last in (20, 21, 22)]
    readings = readings_of(wanted)
    assert work_of(wanted, readings, groups_of(wanted, readings)).shared == 10


def test_a_batch_fits_the_context_and_the_number_of_tokens():
    wanted = requests(questions=60, seed=1)
    groups = groups_of(wanted, readings_of(wanted))
    batches = list(batches_of(groups, 100, CONTEXT))
    assert sum(map(len, batches)) == len(groups)
    for batch in batches:
        shared, rest = max(group.shared for group in batch), max(group.rest for group in batch)
        rows = sum(len(group.readings) for group in batch) if rest else len(batch)
        assert len(batch) == 1 or (shared + rest <= CONTEXT and rows * (shared + rest) <= 100)


def test_the_engine_computes_unless_common_beginnings_save_more_than_half():
    engine_library()
    scorer = scorer_of("plain", "engine")
    chosen = Scorer(model=scorer.model, device=CPU, engine=scorer.engine)
    apart = [
        Request(tokens=np.array([1, 2, 3]), first=1, group=0),
        Request(tokens=np.array([4, 5, 6]), first=1, group=1),
    ]
    assert score(chosen, apart).method == "engine"
    together = [Request(tokens=np.array([*range(20), last]), first=20, group=0) for last in range(30, 38)]
    assert score(chosen, together).method == "shared"
    assert score(Scorer(model=scorer.model, device=CPU), apart).method == "shared"


def test_a_token_beyond_the_vocabulary_is_refused():
    with pytest.raises(LabError, match=f"token {VOCABULARY}"):
        score(scorer_of("plain", "shared"), [Request(tokens=np.array([1, VOCABULARY]), first=1, group=0)])


def test_a_model_that_diverged_is_refused():
    scorer = scorer_of("plain", "shared")
    with torch.no_grad():
        scorer.model.embedding.weight.fill_(math.nan)
    with pytest.raises(LabError, match="aren't finite"):
        score(scorer, requests(2))


def test_the_probabilities_of_all_next_tokens_sum_to_one():
    scorer = scorer_of("plain", "shared")
    wanted = [Request(tokens=np.array([3, 1, 4, last]), first=3, group=0) for last in range(VOCABULARY)]
    assert np.exp(-score(scorer, wanted).nats).sum() == pytest.approx(1.0, abs=1e-6)


def test_a_model_of_equal_logits_predicts_nothing():
    scorer = scorer_of("plain", "shared")
    with torch.no_grad():
        for tensor in scorer.model.parameters():
            tensor.zero_()
    found = score(scorer, [Request(tokens=np.array([3, last]), first=1, group=0) for last in range(VOCABULARY)])
    assert not found.greedy.any()
    assert np.unique(found.nats).tolist() == [pytest.approx(math.log(VOCABULARY))]


def tokenizers():
    alphabet = "".join(sorted(set(TEXT)))
    return {
        "bytes": Bytes(documents_end=False),
        "bytes with an end": Bytes(documents_end=True),
        "characters": Characters(alphabet, documents_end=True, replace=False),
        "bpe": learn_bpe([TEXT * 20], 400),
    }


def encoder_of(tokenizer, **changed):
    first = tokenizer.end_of_text if tokenizer.end_of_text is not None else 0
    return Encoder(**{"tokenizer": tokenizer, "context": 200, "first": first, **changed})


@pytest.mark.parametrize("name", tokenizers())
def test_the_tokens_bytes_sum_to_the_text_s_wherever_it_is_cut(name):
    tokenizer = tokenizers()[name]
    whole = len(TEXT.encode())
    sizes = tokenizer.token_bytes()
    cuts = range(len(TEXT) - 2)
    items = [Item(options=(Option(TEXT[:cut], TEXT[cut:]),), gold=0) for cut in cuts]
    encoded = encode_items(encoder_of(tokenizer), items)
    assert not encoded.unscorable
    for cut, request, size in zip(cuts, encoded.requests, encoded.bytes.tolist(), strict=True):
        text = request.tokens[0 if TEXT[:cut] else 1 :]  # without the token before a text that has no prompt
        scored, before = request.tokens[request.first :], text[: len(text) - len(request.tokens) + request.first]
        assert sizes[scored].sum() == size
        assert size + sizes[before].sum() == whole
        # All bytes of the answer, and at most some of a token that it shares with the prompt.
        answer = len(TEXT[len(TEXT[:cut].rstrip()) :].encode())
        assert answer <= size < answer + sizes[scored[0]]
        assert tokenizer.decode_bytes(text) == TEXT.encode()


def test_the_end_of_text_has_no_bytes_and_begins_a_text_without_a_prompt():
    tokenizer = tokenizers()["bpe"]
    assert tokenizer.token_bytes()[tokenizer.end_of_text] == 0
    (request,) = encode_items(encoder_of(tokenizer), [Item(options=(Option("", "A café."),), gold=0)]).requests
    assert request.tokens[0] == tokenizer.end_of_text and request.first == 1
    (request,) = encode_items(encoder_of(tokenizer), [Item(options=(Option("A", " café."),), gold=0)]).requests
    assert request.tokens[0] != tokenizer.end_of_text
    (request,) = encode_items(encoder_of(tokenizer, begin=7), [Item(options=(Option("A", " b"),), gold=0)]).requests
    assert request.tokens[0] == 7


def test_white_space_at_the_prompt_s_end_is_scored_with_the_answer():
    tokenizer = tokenizers()["bpe"]
    moved, plain = encode_items(
        encoder_of(tokenizer),
        [Item(options=(Option(*pair),), gold=0) for pair in (("The ", "doors"), ("The", " doors"))],
    ).requests
    assert moved.tokens.tolist() == plain.tokens.tolist() and moved.first == plain.first


def test_a_token_of_prompt_and_answer_is_scored_with_the_answer():
    tokenizer = learn_bpe(["abab abab"] * 20, 260)
    encoded = encode_items(encoder_of(tokenizer), [Item(options=(Option("a", "bab"),), gold=0)])
    assert encoded.joined == 1
    assert encoded.bytes.tolist() == [4]


def test_prompts_that_are_too_long_are_cut_on_the_left_and_counted():
    tokenizer = Bytes(documents_end=True)
    encoded = encode_items(
        encoder_of(tokenizer, context=8), [same_prompt("0123456789", ["ab", "c"], 0), same_prompt("x", ["y"], 0)]
    )
    assert encoded.cut == 1 and not encoded.unscorable
    assert bytes(encoded.requests[0].tokens.astype(np.uint8)) == b"456789 ab"
    assert encoded.requests[0].first == 6


def test_items_that_cannot_be_scored_are_counted_with_the_reason():
    tokenizer = Characters("abc ", documents_end=True, replace=False)
    items = [same_prompt("a", ["b", "c"], 0), same_prompt("a", ["b", "é"], 1), same_prompt("a", ["b" * 30, "c"], 0)]
    encoded = encode_items(encoder_of(tokenizer, context=8), items)
    assert [request.group for request in encoded.requests] == [0, 0]
    assert encoded.reasons() == {
        "a character that the tokenizer lacks ('é' (U+00E9))": 1,
        "an answer longer than the context of 8 tokens": 1,
    }


def test_words_are_scored_behind_the_prompt_s():
    tokenizer = Words(["the", "cat", "sat"], lowercase=True, replace=True)
    encoded = encode_items(
        encoder_of(tokenizer), [same_prompt("The cat", ["sat"], 0), same_prompt("The cat", ["flew"], 0)]
    )
    assert encoded.requests[0].tokens.tolist() == [4, 5, 6] and encoded.requests[0].first == 2
    assert encoded.reasons() == {"a word that the tokenizer lacks ('flew')": 1}
    assert isinstance(model_of(MODELS["plain"]), GPTModel)
