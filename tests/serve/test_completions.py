"""/v1/completions against `generate` and full forward passes."""

import codecs
import json

import pytest

PROMPTS = ["ab", "né", "A longer one, which says more."]


def complete(client, **body):
    response = client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def streamed(client, path, **body):
    """The objects of a stream, which must end with [DONE]."""
    with client.stream("POST", path, json={**body, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-1]]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"seed": 5},
        {"seed": 5, "temperature": 0.7, "top_p": 0.9},
        {"seed": 2, "top_k": 5, "repetition_penalty": 1.3, "min_p": 0.01},
    ],
)
def test_texts_are_those_of_generate_for_each_prompt_and_sample(client, texts, settings):
    found = complete(client, prompt=[*PROMPTS, "ab"], n=2, max_tokens=30, model="tiny", **settings)
    assert [one["index"] for one in found["choices"]] == list(range(8))
    expected = texts([prompt for prompt in [*PROMPTS, "ab"] for _ in range(2)], tokens=30, **settings)
    assert [one["text"] for one in found["choices"]] == expected
    assert found["object"] == "text_completion"
    assert found["usage"]["prompt_tokens"] == sum(len(prompt.encode()) for prompt in [*PROMPTS, "ab"])
    assert found["usage"]["completion_tokens"] <= 240


def test_without_a_seed_answers_differ(client):
    assert len({complete(client, prompt="ab", max_tokens=30)["choices"][0]["text"] for _ in range(3)}) == 3


@pytest.mark.parametrize("form", [lambda ids, text: text, lambda ids, text: [text], lambda ids, text: ids])
def test_a_prompt_may_be_text_or_tokens(client, served, texts, form):
    ids = served.encode("né ab")
    for prompt in (form(ids, "né ab"), [ids]):
        found = complete(client, prompt=prompt, max_tokens=9, temperature=0, echo=True)["choices"][0]["text"]
        assert found == "né ab" + texts(["né ab"], tokens=9, temperature=0.0)[0]


def test_texts_end_before_a_stop_string_and_past_the_context_they_go_on(client, texts):
    plain = texts(["ab"], tokens=400, seed=1)[0]
    assert complete(client, prompt="ab", max_tokens=400, seed=1)["choices"][0]["text"] == plain
    stop = plain[20:22]
    found = complete(client, prompt="ab", max_tokens=400, seed=1, stop=[stop, "not there"])["choices"][0]
    assert found["text"] == texts(["ab"], tokens=400, seed=1, stop=(stop,))[0]
    assert found["finish_reason"] == "stop"
    assert complete(client, prompt="ab", max_tokens=400, seed=1, stop=stop)["choices"][0]["text"] == found["text"]


@pytest.mark.parametrize("tokens", [0, 1, 12])
def test_every_log_probability_is_that_of_a_dense_forward_pass(client, served, logprobs, tokens):
    ids = served.encode("né ab")
    found = complete(client, prompt=ids, max_tokens=tokens, seed=4, echo=True, logprobs=3)["choices"][0]
    listed = found["logprobs"]
    assert len(listed["tokens"]) == len(ids) + tokens
    assert listed["token_logprobs"][0] is listed["top_logprobs"][0] is None
    names = {served.token_name(token): token for token in range(served.tokenizer.vocabulary_size)}
    written = [names[name] for name in listed["tokens"]]
    assert written[: len(ids)] == ids
    dense = logprobs(written)
    for place, token in enumerate(written[1:]):
        assert listed["token_logprobs"][place + 1] == pytest.approx(float(dense[place, token]), abs=1e-5)
        best = listed["top_logprobs"][place + 1]
        top = dense[place].topk(3)
        assert set(best) == {served.token_name(int(one)) for one in {*top.indices.tolist(), token}}
        for name, value in best.items():
            assert value == pytest.approx(float(dense[place, names[name]]), abs=1e-5)
    # Each token begins in the text where those before it, as far as they are whole characters, end.
    for place, offset in enumerate(listed["text_offset"]):
        spelt = b"".join(served.bytes_of(token) for token in written[:place])
        assert offset == len(codecs.getincrementaldecoder("utf-8")("replace").decode(spelt))
    assert found["finish_reason"] == "length"


def test_nothing_is_generated_for_no_tokens(client):
    found = complete(client, prompt=["ab", "c"], max_tokens=0)
    assert [(one["text"], one["finish_reason"]) for one in found["choices"]] == [("", "length")] * 2
    assert found["usage"] == {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}
    echoed = complete(client, prompt=["ab", "c"], max_tokens=0, echo=True)
    assert [one["text"] for one in echoed["choices"]] == ["ab", "c"]


def test_an_empty_prompt_begins_at_the_end_of_text(client, texts):
    assert complete(client, prompt="", max_tokens=9, seed=1)["choices"][0]["text"] == texts([""], tokens=9, seed=1)[0]


def test_a_bias_forces_and_forbids_tokens(client, served):
    (letter,) = served.encode("x")
    forced = complete(client, prompt="ab", max_tokens=5, logit_bias={str(letter): 100})
    assert forced["choices"][0]["text"] == "xxxxx"
    free = complete(client, prompt="ab", max_tokens=80, temperature=0)["choices"][0]["text"]
    (common,) = served.encode(next(letter for letter in free if letter.isascii()))
    without = complete(client, prompt="ab", max_tokens=80, temperature=0, logit_bias={str(common): -100})
    assert chr(common) not in without["choices"][0]["text"]


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("reported", [None, 2])
def test_a_stream_joins_to_the_whole_answer(client, echo, reported):
    body = {"prompt": ["né ab", "cd"], "n": 2, "max_tokens": 25, "seed": 6, "echo": echo, "logprobs": reported}
    whole = complete(client, **body)
    chunks = streamed(client, "/v1/completions", **body, stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == whole["usage"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    for choice in whole["choices"]:
        own = [one for chunk in chunks for one in chunk["choices"] if one["index"] == choice["index"]]
        assert "".join(one["text"] for one in own) == choice["text"]
        assert [one["finish_reason"] for one in own if one["finish_reason"]] == [choice["finish_reason"]]
        if reported:
            for name, values in choice["logprobs"].items():
                assert [value for one in own if one["logprobs"] for value in one["logprobs"][name]] == values
    assert all("usage" not in chunk for chunk in streamed(client, "/v1/completions", **body))


def test_equal_requests_with_a_seed_have_equal_answers(client):
    body = {"prompt": "ab", "max_tokens": 20, "seed": -3}
    first, second = complete(client, **body), complete(client, **body)
    assert first["choices"] == second["choices"]
    assert first["system_fingerprint"] == second["system_fingerprint"] == "tiny-7"
    assert first["id"] != second["id"]
