"""/v1/chat/completions against the template's own prompt, and the paths for tokens and models."""

import dataclasses

import pytest

from tests.serve.test_completions import streamed

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi né"}]
PROMPT = "Be brief.\n\nUser: Hi né\nAssistant: "


def test_an_answer_is_the_text_after_the_template_s_prompt(client, texts):
    body = {"messages": MESSAGES, "max_tokens": 30, "seed": 2, "n": 2}
    found = client.post("/v1/chat/completions", json=body).json()
    assert found["object"] == "chat.completion"
    expected = texts([PROMPT] * 2, tokens=30, seed=2, stop=("User:",))
    assert [one["message"]["content"] for one in found["choices"]] == expected
    assert {one["message"]["role"] for one in found["choices"]} == {"assistant"}
    assert found["usage"]["prompt_tokens"] == len(PROMPT.encode())
    other = {**body, "max_completion_tokens": body.pop("max_tokens"), "messages": _in_parts(MESSAGES)}
    assert client.post("/v1/chat/completions", json=other).json()["choices"] == found["choices"]


def _in_parts(messages):
    return [{**one, "content": [{"type": "text", "text": one["content"]}]} for one in messages]


def test_without_a_limit_an_answer_fills_the_context_at_most(client, served):
    found = client.post("/v1/chat/completions", json={"messages": MESSAGES, "seed": 1}).json()
    assert found["usage"]["total_tokens"] <= served.model.context


def test_log_probabilities_are_those_of_a_dense_forward_pass(client, served, logprobs):
    body = {"messages": MESSAGES, "max_tokens": 9, "seed": 2, "logprobs": True, "top_logprobs": 2}
    entries = client.post("/v1/chat/completions", json=body).json()["choices"][0]["logprobs"]["content"]
    assert len(entries) == 9
    names = {served.token_name(token): token for token in range(served.tokenizer.vocabulary_size)}
    ids = served.encode(PROMPT)
    for entry in entries:
        dense = logprobs(ids)[-1]
        token = names[entry["token"]]
        assert entry["logprob"] == pytest.approx(float(dense[token]), abs=1e-5)
        assert bytes(entry["bytes"]) == served.bytes_of(token)
        assert [names[one["token"]] for one in entry["top_logprobs"]] == dense.topk(2).indices.tolist()
        ids.append(token)


def test_a_stream_begins_with_the_role_and_joins_to_the_answer(client):
    body = {"messages": MESSAGES, "max_tokens": 20, "seed": 3, "logprobs": True}
    whole = client.post("/v1/chat/completions", json=body).json()["choices"][0]
    chunks = streamed(client, "/v1/chat/completions", **body)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    choices = [one for chunk in chunks for one in chunk["choices"]]
    assert "".join(one["delta"].get("content", "") for one in choices) == whole["message"]["content"]
    assert choices[-1]["finish_reason"] == whole["finish_reason"]
    entries = [entry for one in choices if one["logprobs"] for entry in one["logprobs"]["content"]]
    assert entries == whole["logprobs"]["content"]


def test_a_base_model_has_no_chat_but_says_how(serving, served):
    with serving(dataclasses.replace(served, template=None)) as client:
        response = client.post("/v1/chat/completions", json={"messages": MESSAGES})
        assert response.status_code == 400
        assert "--template" in response.json()["error"]["message"]
        assert client.get("/v1/models").json()["data"][0]["template"] is None


def test_text_becomes_tokens_and_tokens_text(client, served):
    found = client.post("/tokenize", json={"prompt": "né", "add_special_tokens": False}).json()
    assert found == {"count": 3, "max_model_len": served.model.context, "tokens": served.encode("né")}
    assert client.post("/detokenize", json={"tokens": found["tokens"]}).json() == {"prompt": "né"}
    named = client.post("/tokenize", json={"messages": MESSAGES, "return_token_strs": True}).json()
    assert client.post("/detokenize", json={"tokens": named["tokens"]}).json() == {"prompt": PROMPT}
    assert named["token_strs"][:3] == ["B", "e", " "]
    assert "bytes:\\xc3" in named["token_strs"]


def test_the_model_is_listed_by_its_name(client, served):
    (entry,) = client.get("/v1/models").json()["data"]
    assert (entry["id"], entry["max_model_len"], entry["template"]) == ("tiny", served.model.context, "plain")
    assert client.get("/v1/models/tiny").json() == entry
    assert client.get("/v1/models/other").status_code == 404
