"""What a request may not be: each is a 4xx with OpenAI's error object, and the server goes on."""

import json

import pytest

from lmlab.serve.served import Limits

GOOD = {"prompt": "ab", "max_tokens": 1}
CHAT = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}
JSON = {"content-type": "application/json"}
WRONG = [
    ("prompt", None),
    ("prompt", []),
    ("prompt", 3),
    ("prompt", ["a", 3]),
    ("prompt", [[]]),
    ("prompt", [[1], "a"]),
    ("prompt", [1.5]),
    ("prompt", [-1]),
    ("prompt", [10**6]),
    ("prompt", [[True]]),
    ("prompt", {"a": 1}),
    ("prompt", "x" * 500),
    ("max_tokens", -1),
    ("max_tokens", 10**9),
    ("max_tokens", 1.5),
    ("max_tokens", True),
    ("max_tokens", "5"),
    ("temperature", -0.1),
    ("temperature", "hot"),
    ("temperature", 1e300),
    ("top_p", 0),
    ("top_p", 1.1),
    ("top_k", 10**9),
    ("n", 0),
    ("n", 10**6),
    ("seed", 1.5),
    ("seed", 10**30),
    ("stop", 5),
    ("stop", [""]),
    ("stop", ["a"] * 99),
    ("stop", ["x" * 5000]),
    ("logprobs", -1),
    ("logprobs", 50),
    ("logprobs", True),
    ("echo", 1),
    ("stream", "yes"),
    ("stream_options", {"include_usage": True}),
    ("logit_bias", {"a": 1}),
    ("logit_bias", {"1": "x"}),
    ("logit_bias", {"1": 101}),
    ("logit_bias", {"-1": 1}),
    ("logit_bias", {"99999999": 1}),
    ("logit_bias", [1]),
    ("user", 5),
    ("best_of", 2),
    ("suffix", "x"),
    ("frequency_penalty", 0.5),
    ("presence_penalty", True),
    ("grammar", "x"),
    ("model", 5),
]
WRONG_CHAT = [
    ("messages", None),
    ("messages", []),
    ("messages", "hi"),
    ("messages", [5]),
    ("messages", [{"role": "user"}]),
    ("messages", [{"role": "robot", "content": "a"}]),
    ("messages", [{"role": "assistant", "content": "a"}]),
    ("messages", [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]),
    ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
    ("messages", [{"role": "user", "content": [{"type": "text", "text": 5}]}]),
    ("messages", [{"role": "user", "content": "a", "tool_calls": []}]),
    ("messages", [{"role": "user", "content": "x" * 500}]),
    ("tools", [{"type": "function"}]),
    ("response_format", {"type": "json_object"}),
    ("top_logprobs", 2),
    ("max_completion_tokens", 0),
    ("echo", True),
    ("audio", {}),
]


def refused(response, status=400):
    """The error object of a response with this status."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"] and len(error["message"]) < 400
    return error


@pytest.mark.parametrize("name, value", WRONG)
def test_a_field_that_is_wrong_or_unsupported_is_named(client, name, value):
    error = refused(client.post("/v1/completions", json={**GOOD, name: value}))
    assert error["param"] == name and name in error["message"]


@pytest.mark.parametrize("name, value", WRONG_CHAT)
def test_a_field_of_a_chat_that_is_wrong_or_unsupported_is_named(client, name, value):
    error = refused(client.post("/v1/chat/completions", json={**CHAT, name: value}))
    assert error["param"] == name


def test_values_that_ask_for_nothing_are_accepted(client):
    neutral = {"best_of": 1, "suffix": None, "frequency_penalty": 0, "presence_penalty": 0.0, "store": False}
    assert client.post("/v1/completions", json={**GOOD, **neutral, "logit_bias": None, "user": "me"}).status_code == 200
    neutral = {"tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "metadata": None}
    assert client.post("/v1/chat/completions", json={**CHAT, **neutral, "stop": None}).status_code == 200


def test_another_model_is_not_found(client):
    error = refused(client.post("/v1/completions", json={**GOOD, "model": "gpt-4"}), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")


def test_a_prompt_longer_than_the_context_has_its_own_code(client):
    assert refused(client.post("/v1/completions", json={"prompt": "x" * 201}))["code"] == "context_length_exceeded"
    assert client.post("/v1/completions", json={"prompt": "x" * 200, "max_tokens": 2}).status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"5",
        b'"text"',
        b"\xff\xfe",
        b'{"prompt": "a", "prompt": "b"}',
        b'{"prompt": "a", "temperature": NaN}',
        b'{"prompt": "a", "temperature": Infinity}',
        b'{"prompt": "a", "temperature": 1e999}',
        b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}",
        b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"prompt": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    ],
)
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"])
def test_what_isn_t_acceptable_json_is_refused(client, path, content):
    refused(client.post(path, content=content, headers=JSON))


def test_half_of_a_surrogate_pair_is_refused(client):
    refused(client.post("/v1/completions", content=b'{"prompt": "\\ud800"}', headers=JSON))
    message = {"role": "user", "content": "\ud800"}
    refused(client.post("/v1/chat/completions", content=json.dumps({"messages": [message]}), headers=JSON))


def test_a_body_over_the_limit_is_refused_with_or_without_its_length(client):
    large = b" " * (Limits().body_bytes + 1)
    refused(client.post("/v1/completions", content=large, headers=JSON), 413)
    refused(client.post("/v1/completions", content=iter([large[:1000]] * 1200), headers=JSON), 413)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_refused(client, kind):
    headers = {"content-type": kind} if kind else {}
    refused(client.post("/v1/completions", content=json.dumps(GOOD).encode(), headers=headers), 415)


@pytest.mark.parametrize("method, path, status", [("GET", "/v1/nothing", 404), ("GET", "/v1/completions", 405)])
def test_other_paths_and_methods_are_errors_too(client, method, path, status):
    refused(client.request(method, path), status)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "", "localhost.evil.example", "[::1", "127.0.0.1:x"]
)
def test_a_host_that_isn_t_the_server_s_is_refused(client, host):
    for path in ("/", "/v1/models", "/nothing"):
        refused(client.get(path, headers={"host": host}), 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1", "[::1]:8000", "192.168.1.5:80"])
def test_loopback_s_names_and_addresses_are_accepted(client, host):
    assert client.get("/v1/models", headers={"host": host}).status_code == 200


def test_a_page_of_another_site_is_refused(client):
    for origin in ("http://evil.example", "null", "http://localhost:1"):
        refused(client.post("/v1/completions", json=GOOD, headers={"origin": origin}), 403)
    own = str(client.base_url).rstrip("/")
    assert client.post("/v1/completions", json=GOOD, headers={"origin": own}).status_code == 200


def test_a_token_is_asked_for_everywhere_but_at_the_page_and_health(serving, served):
    token = "s3cret-token-of-the-test"
    with serving(served, token=token) as client:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": token},
            {"authorization": "Basic " + token},
        ):
            for path in ("/v1/models", "/metrics"):
                assert refused(client.get(path, headers=headers), 401)["code"] == "invalid_api_key"
            refused(client.post("/v1/completions", json=GOOD, headers=headers), 401)
        refused(client.get("/v1/models", headers={"authorization": "Bearer é\xff".encode("latin-1")}), 401)
        assert client.get("/").status_code == client.get("/health").status_code == 200
        right = {"authorization": f"Bearer {token}"}
        assert client.post("/v1/completions", json=GOOD, headers=right).status_code == 200
        assert client.get("/metrics", headers=right).status_code == 200
