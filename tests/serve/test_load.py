"""Many clients at once, those that leave, a full queue, failures and the stop."""

import asyncio
import contextlib
import signal
import socket
import threading
import time

import pytest
import torch

from lmlab.generation.slots import slots_for
from lmlab.serve.served import Limits

PATH = "/v1/completions"


def until(holds, seconds=20):
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def metric(client, name):
    lines = client.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"lmlab_{name} ")).split()[-1])


def test_64_clients_get_the_answers_of_each_alone(client, texts):
    httpx = pytest.importorskip("httpx")
    prompts = [f"client {number} asks {'again ' * (number % 9)}" for number in range(64)]
    settings = [{"temperature": 0.0} if number % 2 else {"seed": number} for number in range(64)]
    asked = list(zip(prompts, settings, strict=True))
    alone = [texts([prompt], tokens=20 + number % 7, **own)[0] for number, (prompt, own) in enumerate(asked)]

    async def ask():
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=client.base_url, timeout=120, limits=limits) as many:
            bodies = [
                {"prompt": prompt, "max_tokens": 20 + number % 7, **own} for number, (prompt, own) in enumerate(asked)
            ]
            return await asyncio.gather(*(many.post(PATH, json=body) for body in bodies))

    answers = asyncio.run(ask())
    assert [answer.json()["choices"][0]["text"] for answer in answers] == alone
    assert max(client.server.metrics.batch_size.latest) > 8


@pytest.mark.parametrize("stream", [True, False])
def test_the_texts_of_a_client_that_leaves_end(serving, served, stream):
    httpx = pytest.importorskip("httpx")
    with serving(served, Limits(batch=2, tokens=10**6)) as client:
        body = {"prompt": ["ab", "cd", "ef"], "max_tokens": 10**6, "stream": stream, "logit_bias": {"256": -100}}
        if stream:
            with client.stream("POST", PATH, json=body) as response:
                lines = response.iter_lines()
                next(lines)
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(PATH, json=body, timeout=0.5)
        until(lambda: metric(client, "texts_running") == 0)
        assert metric(client, "cancelled_texts_total") == 2
        assert metric(client, "texts_waiting") == 0
        assert client.post(PATH, json={"prompt": "ab", "max_tokens": 2}).status_code == 200


def test_a_full_queue_is_answered_with_when_to_come_back(serving, served):
    with serving(served, Limits(batch=1, queue=2, tokens=10**6)) as client:
        long = {"prompt": "ab", "max_tokens": 10**6, "stream": True, "logit_bias": {"256": -100}}
        with client.stream("POST", PATH, json=long) as running:
            lines = running.iter_lines()  # kept, since its end closes the connection
            next(lines)
            with client.stream("POST", PATH, json={**long, "n": 2}) as waiting:
                assert waiting.status_code == 200
                refused = client.post(PATH, json={"prompt": "ab"})
                assert refused.status_code == 503
                assert refused.json()["error"]["code"] == "queue_full"
                assert 1 <= int(refused.headers["retry-after"]) <= 60
        until(lambda: metric(client, "texts_running") == 0)
        assert client.post(PATH, json={"prompt": "ab", "max_tokens": 2}).status_code == 200


def test_a_model_that_diverged_is_an_error_and_the_server_goes_on(serving, served):
    said = []
    with serving(served, said=said) as client:
        weight = served.model.head.weight
        kept = weight.detach().clone()
        try:
            with torch.no_grad():
                weight.fill_(float("nan"))
            client.server.scheduler._batch._slots = slots_for(served.model, 4)
            response = client.post(PATH, json={"prompt": "ab", "max_tokens": 2})
            assert response.status_code == 500
            assert "diverged" in response.json()["error"]["message"]
        finally:
            with torch.no_grad():
                weight.copy_(kept)
        client.server.scheduler._batch._slots = slots_for(served.model, 4)
        assert client.post(PATH, json={"prompt": "ab", "max_tokens": 2}).status_code == 200
    assert len(said) == 1 and "diverged" in said[0]


def test_a_stop_lets_running_answers_end_and_refuses_the_rest(serving, served, monkeypatch):
    pytest.importorskip("uvicorn")
    monkeypatch.setattr("lmlab.serve.running.GRACE_SECONDS", 60)
    with serving(served, Limits(batch=1, queue=5)) as client:
        answers = {}

        def ask(name, tokens):
            # No end of text, so that the first is still running when the second one waits.
            body = {"prompt": "ab", "seed": 1, "max_tokens": tokens, "logit_bias": {"256": -100}}
            answers[name] = client.post(PATH, json=body)

        threads = [threading.Thread(target=ask, args=("running", 2000))]
        threads[0].start()
        until(lambda: len(client.server.scheduler._texts) == 1)
        threads.append(threading.Thread(target=ask, args=("waiting", 5)))
        threads[1].start()
        until(lambda: len(client.server.scheduler._queue) == 1)
        client.http_server.handle_exit(signal.SIGTERM, None)
        for thread in threads:
            thread.join(60)
    assert answers["running"].json()["usage"]["completion_tokens"] == 2000
    assert answers["waiting"].status_code == 503
    assert answers["waiting"].json()["error"]["code"] == "stopping"


def test_figures_count_what_was_answered(serving, served):
    with serving(served) as client:
        client.post(PATH, json={"prompt": ["abc", "d"], "max_tokens": 5, "logit_bias": {"256": -100}})
        client.post(PATH, json={"prompt": 5})
        text = client.get("/metrics").text
        assert 'lmlab_requests_total{endpoint="completions",status="200"} 1' in text
        assert 'lmlab_requests_total{endpoint="completions",status="400"} 1' in text
        assert metric(client, "prompt_tokens_total") == 4
        assert metric(client, "generated_tokens_total") == 10
        for name, count in (("first_token_seconds", 2), ("text_tokens_per_second", 2)):
            assert metric(client, f"{name}_count") == count
            buckets = [line for line in text.splitlines() if line.startswith(f"lmlab_{name}_bucket")]
            counts = [int(line.split()[-1]) for line in buckets]
            assert counts == sorted(counts) and counts[-1] == count and '{le="+Inf"}' in buckets[-1]
        assert metric(client, "batch_size_sum") == 10
        summary = client.server.metrics.summary()
    assert "10 tokens; first token after" in summary and "tokens/s together" in summary


def test_connections_send_each_token_at_once(serving):
    """asyncio sets TCP_NODELAY on connections of a socket that names its protocol."""
    from lmlab.serve.running import listening_socket

    with contextlib.closing(listening_socket("127.0.0.1", 0)) as bound:
        assert bound.proto == socket.IPPROTO_TCP
