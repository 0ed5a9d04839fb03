"""A server on loopback with a tiny random model of bytes, and what its answers are compared with."""

import contextlib
import threading

import pytest
import torch

from lmlab.data.tokenizers import build_tokenizer
from lmlab.generation.decoding import generate
from lmlab.generation.settings import Sampling
from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.recipe.data import Data
from lmlab.recipe.model import GPT
from lmlab.recipe.template import template_named
from lmlab.serve.served import Limits, Served

CONTEXT = 200


@pytest.fixture(scope="session")
def served():
    """A GPT of bytes whose texts are no repetitions, with the template `plain`."""
    tokenizer = build_tokenizer(Data(tokenizer="bytes"), [], documents_end=True)
    shape = GPT(layers=2, heads=2, width=16, context=CONTEXT, positions="rotary", init="torch", tied=False)
    model = build_model(shape, tokenizer.vocabulary_size)
    initialise(model, 3)
    with torch.no_grad():
        model.head.weight.mul_(4)
    return Served(
        name="tiny",
        step=7,
        model=model.eval(),
        tokenizer=tokenizer,
        template=template_named("plain"),
        begin=None,
        fingerprint="tiny-7",
    )


@pytest.fixture(scope="session")
def texts(served):
    """`texts(prompts, **sampling)`: the completions of `lmlab sample`."""

    def write(prompts, **settings):
        found = generate(served.model, served.tokenizer, prompts, Sampling(**settings))
        return [one.text for one in found]

    return write


@pytest.fixture(scope="session")
def logprobs(served):
    """`logprobs(ids)`: the log-probabilities of the token after each of these, by one forward pass."""

    def compute(ids):
        with torch.inference_mode():
            return served.model(torch.tensor([ids]))[0, :, : served.tokenizer.vocabulary_size].double().log_softmax(-1)

    return compute


@pytest.fixture(scope="session")
def serving():
    """`with serving(served, limits, token) as client`: a running server, and an httpx client that knows its address.

    `client.server` and `client.http_server` are its parts.
    """
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    httpx = pytest.importorskip("httpx")
    from lmlab.serve.running import HttpServer, listening_socket, new_server

    @contextlib.contextmanager
    def run(served, limits=Limits(), token=None, said=None):  # noqa: B008 - a frozen value
        server = new_server(served, limits, set(), token, [].append if said is None else said.append)
        bound, started = listening_socket("127.0.0.1", 0), threading.Event()
        http_server = HttpServer(server, started.set)
        server.scheduler.start()
        thread = threading.Thread(target=http_server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            assert started.wait(10)
            with httpx.Client(base_url=f"http://127.0.0.1:{bound.getsockname()[1]}", timeout=60) as client:
                client.server, client.http_server = server, http_server
                yield client
        finally:
            http_server.should_exit = True
            thread.join()
            server.scheduler.stop()
            bound.close()

    return run


@pytest.fixture(scope="session")
def client(serving, served):
    """A running server that all tests share."""
    with serving(served) as client:
        yield client
