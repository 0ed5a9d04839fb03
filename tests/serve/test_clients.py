"""Clients of others: openai's own, and curl."""

import json
import shutil
import subprocess

import pytest


@pytest.fixture
def openai(client):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{client.base_url}/v1/", api_key="none", max_retries=0) as found:
        found.errors = openai
        yield found


def test_openai_s_client_gets_completions_whole_and_streamed(openai, texts):
    expected = texts(["ab"], tokens=20, seed=3)[0]
    settings = {"model": "tiny", "prompt": "ab", "max_tokens": 20, "seed": 3}
    found = openai.completions.create(**settings, logprobs=1, echo=True)
    assert found.choices[0].text == "ab" + expected
    assert len(found.choices[0].logprobs.token_logprobs) == 2 + found.usage.completion_tokens
    pieces = [chunk.choices[0].text for chunk in openai.completions.create(**settings, stream=True)]
    assert "".join(pieces) == expected


def test_openai_s_client_chats(openai):
    messages = [{"role": "user", "content": "Hi"}]
    settings = {"model": "tiny", "messages": messages, "max_tokens": 12, "seed": 3}
    found = openai.chat.completions.create(**settings, logprobs=True, top_logprobs=1)
    assert len(found.choices[0].logprobs.content) == found.usage.completion_tokens
    chunks = list(openai.chat.completions.create(**settings, stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == found.choices[0].message.content
    assert chunks[-1].usage == found.usage


def test_openai_s_client_understands_the_errors(openai):
    with pytest.raises(openai.errors.BadRequestError, match="best_of") as refused:
        openai.completions.create(model="tiny", prompt="ab", best_of=3)
    assert refused.value.param == "best_of"
    with pytest.raises(openai.errors.NotFoundError):
        openai.completions.create(model="other", prompt="ab")
    assert [model.id for model in openai.models.list()] == ["tiny"]


def test_curl_gets_an_answer_and_a_stream(client, texts):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")

    def ask(body):
        words = [
            curl,
            "-sN",
            f"{client.base_url}/v1/completions",
            "-H",
            "Content-Type: application/json",
            "-d",
            json.dumps(body),
        ]
        return subprocess.run(words, capture_output=True, check=True, text=True, timeout=60).stdout

    body = {"prompt": "ab", "max_tokens": 20, "seed": 3}
    expected = texts(["ab"], tokens=20, seed=3)[0]
    assert json.loads(ask(body))["choices"][0]["text"] == expected
    events = ask({**body, "stream": True}).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert "".join(json.loads(event[6:])["choices"][0]["text"] for event in events[:-2]) == expected
