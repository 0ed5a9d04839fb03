"""Judges as real HTTP servers on loopback. They read the prompt as a client of the interface would, and score what its data says.

A judge's idea of quality is the share of the reference's words that an answer has, in their place. What is planted (noise, a liking for
length, lists, politeness or the first place, unreadable replies, credit for anything) is an argument.
"""

import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from lmlab.judge.texts import LIST_LINE, POLITENESS

BLOCK = re.compile(r"\nBEGIN DATA ([0-9a-f]{32})\n(.*)\nEND DATA \1\n", re.DOTALL)


def data_in(prompt):
    """The JSON between the delimiters, which must be one line."""
    found = BLOCK.search(prompt)
    assert found and "\n" not in found[2]
    return json.loads(found[2])


def quality(answer, reference):
    """From 0 to 1: the share of the reference's words that are in the answer in their order of places."""
    words = re.sub(r"(?m)^- ", "", answer).split()
    begin = next((place for place, word in enumerate(words) if word == "that."), -1) + 1 if "happy to" in answer else 0
    words = words[begin:]
    expected = reference.split()
    return sum(one == other for one, other in zip(words, expected, strict=False)) / len(expected)


class Scripted:
    """What a judge thinks of a prompt; deterministic in the prompt."""

    def __init__(
        self, noise=5.0, length=0.0, lists=0.0, polite=0.0, place=0.0, failing=0.0, echo=0.0, random=False, fence=False, seed=0
    ):
        self.noise, self.length, self.lists, self.polite, self.place = noise, length, lists, polite, place
        self.failing, self.echo, self.random, self.fence, self.seed = failing, echo, random, fence, seed
        self.calls = 0

    def reply(self, prompt):
        data = data_in(prompt)
        digest = hashlib.sha256(f"{self.seed} {prompt}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        if generator.random() < self.failing:
            return "I think that both have their merits."
        answers = data["answers"] if "answers" in data else {"": data["answer"]}
        found = {
            label: self.score(data, answer, place, len(answers), generator)
            for place, (label, answer) in enumerate(answers.items())
        }
        value = self.value(data, prompt, found)
        return f"```json\n{json.dumps(value)}\n```" if self.fence else json.dumps(value)

    def score(self, data, answer, place, count, generator):
        if self.random:
            return float(generator.uniform(0, 100))
        score = 100 * quality(answer, data["reference"])
        if answer.strip() and answer.strip() == data["question"].strip():
            score = max(score, self.echo)
        score += self.length * (np.log2(16 + len(answer)) - np.log2(16 + len(data["reference"])))
        score += self.lists * bool(LIST_LINE.search(answer)) + self.polite * bool(POLITENESS.search(answer))
        score += self.place * (count - 1 - place) / max(1, count - 1) + self.noise * generator.normal()
        return score

    def value(self, data, prompt, found):
        if "answers" not in data:
            return {"score": float(np.clip(found[""], 0, 100))}
        if '"better"' in prompt:
            apart = found["A"] - found["B"]
            return {"better": "tie" if abs(apart) < 5 else "A" if apart > 0 else "B"}
        return {"scores": {label: float(np.clip(score, 0, 100)) for label, score in found.items()}}


@contextlib.contextmanager
def served(reply, statuses=()):
    """An OpenAI-compatible server on loopback: `reply(prompt)` is the answer; the first requests get `statuses` instead."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.asked.append(body)
            self.server.headers.append(dict(self.headers))
            status = self.server.statuses.pop(0) if self.server.statuses else 200
            content = b""
            if status == 200:
                said = reply(body["messages"][-1]["content"])
                choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
                content = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 300, "completion_tokens": 8}}).encode()
            self.send_response(status)
            if status == 307:
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.headers, server.statuses = [], [], list(statuses)
    server.address = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
