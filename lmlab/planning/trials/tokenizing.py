"""Measure a tokenizer's throughput: text by text, in batches over all cores, and in several processes at once.

The processes receive tokenizer and texts as one line of JSON, reply that they are ready, and begin together at a signal of the
parent.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lmlab.data.dataset import Dataset
from lmlab.data.tokenizers import Tokenizer, load_tokenizer
from lmlab.planning.trials.child import environment
from lmlab.recipe.extensions import load_extensions

COMMAND = (sys.executable, "-P", "-m", "lmlab.planning.trials.tokenizing")
TEXT_TOKENS = 1024
MOST_TEXTS = 512
SECONDS = 0.5
READY, GO = "ready", "go"


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """The throughput of one way to tokenize."""

    how: str
    """one by one, batched, or the number of processes."""
    processes: int
    tokens_per_second: float
    bytes_per_second: float

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json."""
        return asdict(self)


def sample_texts(dataset: Dataset, count: int = MOST_TEXTS) -> list[str]:
    """Return texts of about 1,024 tokens each from all over the training split."""
    length = len(dataset.tokens("train"))
    places = range(0, max(1, length - TEXT_TOKENS), max(TEXT_TOKENS, length // count))
    return [dataset.text("train", place, TEXT_TOKENS) for place in places][:count]


def tokenizer_throughput(
    tokenizer: Tokenizer, texts: Sequence[str], processes: Sequence[int] = (1, 2), seconds: float = SECONDS
) -> list[Throughput]:
    """Measure one by one, batched, and with each of these numbers of processes; about `seconds` each."""
    found = [
        _timed("one by one", lambda: sum(len(tokenizer.encode(text)) for text in texts), texts, seconds),
        _timed("batched", lambda: sum(map(len, tokenizer.encode_batch(texts))), texts, seconds),
    ]
    found += [_by_processes(tokenizer, texts, count, seconds) for count in processes]
    return found


def _timed(how: str, encode: Callable[[], int], texts: Sequence[str], seconds: float) -> Throughput:
    encode()  # the first call may build its tables
    tokens, rounds, took = _repeat(encode, seconds)
    size = rounds * sum(len(text.encode("utf-8", errors="replace")) for text in texts)
    return Throughput(how=how, processes=1, tokens_per_second=tokens / took, bytes_per_second=size / took)


def _repeat(encode: Callable[[], int], seconds: float) -> tuple[int, int, float]:
    """Call `encode` until `seconds` have passed; return tokens, rounds and seconds."""
    tokens = rounds = 0
    began = time.perf_counter()
    while True:
        tokens += encode()
        rounds += 1
        took = time.perf_counter() - began
        if took >= seconds:
            return tokens, rounds, took


def _by_processes(tokenizer: Tokenizer, texts: Sequence[str], count: int, seconds: float) -> Throughput:
    request = json.dumps({"tokenizer": tokenizer.to_json(), "texts": list(texts), "seconds": seconds})
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_worker()) for _ in range(count)]
        for worker in workers:
            _write_line(worker, request)
        answers = [_read_line(worker) for worker in workers]
        if answers == [READY] * count:
            for worker in workers:
                _write_line(worker, GO)
            answers = [_read_line(worker) for worker in workers]
        rates = [json.loads(answer) for answer in answers if answer.startswith("{")]
    complete = len(rates) == count
    return Throughput(
        how=f"{count} process{'es' if count > 1 else ''}",
        processes=count,
        tokens_per_second=sum(rate["tokens_per_second"] for rate in rates) if complete else 0.0,
        bytes_per_second=sum(rate["bytes_per_second"] for rate in rates) if complete else 0.0,
    )


@contextlib.contextmanager
def _worker() -> Any:
    process = subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        env=environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]


def _write_line(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it has ended, so reading its answer fails too
        process.stdin.write(line + "\n")
        process.stdin.flush()


def _read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _work() -> None:
    load_extensions()
    request = json.loads(sys.stdin.readline())
    tokenizer, texts = load_tokenizer(request["tokenizer"]), request["texts"]

    def encode() -> int:
        return sum(len(tokenizer.encode(text)) for text in texts)

    encode()
    print(READY, flush=True)
    if sys.stdin.readline().strip() == GO:
        found = _timed("", encode, texts, request["seconds"])
        print(json.dumps(found.to_json()), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _work()
