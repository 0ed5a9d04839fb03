"""What batching gains and costs: clients of `lmlab serve` at once against one at a time.

    python -m benchmarks.serving RUN [--clients 1,4,16,64] [--requests 64] [--tokens 64] [--batch 64] [--to FILE]

A server in a process of its own answers the same streamed requests, first from one client after another, then from several at a
time, each of which sends its next request when it has an answer. For each number of clients: tokens/s of all texts together, those
of one text, and the time to the first token. Greedy answers must be the same in all of them. It needs httpx, starlette and uvicorn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import context
from lmlab.files import write_json
from lmlab.serve.metrics import quantile

START_SECONDS = 120
STOP_SECONDS = 30
WORDS = ("The", "A history of", "In the year", "Water is", "She said that", "For example,", "The first", "One day")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer, as its client saw it."""

    text: str
    tokens: int
    first_seconds: float
    seconds: float
    """From the request to the last token; several tokens may reach the client at once, so the time after the first says little."""


async def ask(client: Any, number: int, tokens: int) -> Answer:
    """One streamed greedy request."""
    body = {
        "prompt": f"{WORDS[number % len(WORDS)]} {number}",
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began, first, pieces, count = time.perf_counter(), None, [], 0
    async with client.stream("POST", "/v1/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if event["choices"]:
                first = time.perf_counter() if first is None else first
                pieces.append(event["choices"][0]["text"])
            if event.get("usage"):
                count = event["usage"]["completion_tokens"]
    ended = time.perf_counter()
    return Answer(text="".join(pieces), tokens=count, first_seconds=(first or ended) - began, seconds=ended - began)


async def measured(address: str, clients: int, requests: int, tokens: int) -> tuple[dict[str, Any], list[str]]:
    """The figures of this many clients at a time, and the answers in the order of the requests."""
    import httpx

    answers: list[Answer | None] = [None] * requests
    waiting = iter(range(requests))

    async with httpx.AsyncClient(base_url=address, timeout=600, limits=httpx.Limits(max_connections=clients)) as client:

        async def work() -> None:
            for number in waiting:
                answers[number] = await ask(client, number, tokens)

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(clients)))
        seconds = time.perf_counter() - began
    found = [answer for answer in answers if answer is not None]
    firsts = [answer.first_seconds for answer in found]
    speeds = [answer.tokens / answer.seconds for answer in found]
    figures = {
        "clients": clients,
        "requests": len(found),
        "tokens": sum(answer.tokens for answer in found),
        "seconds": seconds,
        "tokens_per_second": sum(answer.tokens for answer in found) / seconds,
        "text_tokens_per_second": statistics.median(speeds),
        "first_token_seconds": statistics.median(firsts),
        "first_token_seconds_95": quantile(firsts, 0.95),
    }
    return figures, [answer.text for answer in found]


def compared(run: str, counts: Sequence[int], requests: int, tokens: int, batch: int) -> list[dict[str, Any]]:
    """The figures for each number of clients, by one server."""
    words = [sys.executable, "-m", "lmlab", "serve", run, "--port", "0", "--batch", str(batch), "--queue", "1000"]
    server = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        address, end = "", time.monotonic() + START_SECONDS
        while not address and time.monotonic() < end and (line := server.stderr.readline()):
            if found := re.search(r"at (http://\S+)/v1,", line):
                address = found[1]
        if not address:
            raise SystemExit("benchmarks.serving: the server did not start")
        asyncio.run(measured(address, 1, 2, tokens))  # what is slow only once
        results, answers = [], []
        for count in counts:
            figures, texts = asyncio.run(measured(address, count, requests, tokens))
            results.append(figures)
            answers.append(texts)
    finally:
        server.terminate()
        server.wait(STOP_SECONDS)
    for figures, texts in zip(results, answers, strict=True):
        figures["different_answers"] = sum(one != other for one, other in zip(texts, answers[0], strict=True))
    return results


def verdict(results: Sequence[dict[str, Any]]) -> str:
    """What the most clients gain over the fewest, and what they pay."""
    alone, many = results[0], results[-1]
    total, text, first = (
        many[name] / alone[name] for name in ("tokens_per_second", "text_tokens_per_second", "first_token_seconds")
    )
    traded = total > 1 and (text < 1 or first > 1)
    return (
        f"{many['clients']} clients get {total:.2f} times the tokens/s of {alone['clients']}; one text is written at {text:.2f} "
        f"times the speed, its first token comes after {first:.2f} times the time"
        + ("; batching trades the latter for the former" if traded else "")
    )


def table(results: Sequence[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| clients | tokens/s together | tokens/s of a text (median) | first token, median | first token, 95% |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['clients']} | {one['tokens_per_second']:,.0f} | {one['text_tokens_per_second']:,.0f} | "
        f"{1e3 * one['first_token_seconds']:,.0f} ms | {1e3 * one['first_token_seconds_95']:,.0f} ms |"
        for one in results
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--clients", default="1,4,16,64", help="numbers of clients, separated by commas")
    parser.add_argument("--requests", type=int, default=64, help="requests for each number of clients")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--batch", type=int, default=64, help="the server's bound on its batch")
    parser.add_argument("--to", type=Path, help="a JSON file for the result")
    flags = parser.parse_args()
    around = context(None)
    counts = [int(count) for count in flags.clients.split(",")]
    results = compared(flags.run, counts, flags.requests, flags.tokens, flags.batch)
    print(table(results))
    print(verdict(results))
    different = sum(one["different_answers"] for one in results)
    if different:
        print(f"{different} answers differ from those of {counts[0]} clients", file=sys.stderr)
    if flags.to:
        write_json(flags.to, {"context": around, "batch": flags.batch, "results": results})
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main())
