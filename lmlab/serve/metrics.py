"""What a server counts and measures, as Prometheus text and as one line.

Batching trades the time to a text's first token, and the speed of one text, for the tokens that all texts get together. So all
three are measured: `first_token_seconds`, `text_tokens_per_second` and `batch_tokens_per_second`.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
RATES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
REMEMBERED = 10_000
"""Latest values of which `summary` has quantiles."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """Counts of values up to each bound, their sum, and the latest of them."""

    def __init__(self, help_text: str, bounds: Sequence[float]) -> None:
        self.help = help_text
        self.latest: deque[float] = deque(maxlen=REMEMBERED)
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Add a value."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value
        self.latest.append(value)

    def lines(self, name: str) -> list[str]:
        """Return the histogram in Prometheus' text format."""
        total, found = 0, []
        for bound, count in zip((*self._bounds, None), self._counts, strict=True):
            total += count
            found.append(f'{name}_bucket{{le="{"+Inf" if bound is None else f"{bound:g}"}"}} {total}')
        return [*found, f"{name}_sum {self._sum:.9g}", f"{name}_count {total}"]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of them doesn't exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


class Metrics:
    """All figures of a server; its methods may be called by any thread."""

    def __init__(self, batch: int) -> None:
        """`batch` is the bound of the batch."""
        self._lock = threading.Lock()
        self._batch = batch
        self._requests: Counter[tuple[str, int]] = Counter()
        self._totals: Counter[str] = Counter()
        self.load: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """Returns the texts that wait and the texts in the batch."""
        self.first_token_seconds = Histogram("Seconds from a request to the first token of one of its texts.", SECONDS)
        self.text_rate = Histogram("Tokens per second of one text, from its first token to its last.", RATES)
        self.batch_rate = Histogram("Tokens per second of all texts of a step together.", RATES)
        self.batch_size = Histogram("Texts in a step.", SIZES)
        self.busy_seconds = 0.0

    def request(self, endpoint: str, status: int) -> None:
        """Count an answered request."""
        with self._lock:
            self._requests[endpoint, status] += 1

    def prompt(self, tokens: int) -> None:
        """Count the tokens of a prompt."""
        with self._lock:
            self._totals["prompt_tokens"] += tokens

    def step(self, texts: int, seconds: float) -> None:
        """Count a step, which gives each text a token."""
        with self._lock:
            self._totals["generated_tokens"] += texts
            self.busy_seconds += seconds
            self.batch_size.observe(texts)
            self.batch_rate.observe(texts / max(seconds, 1e-9))

    def first_token(self, seconds: float) -> None:
        """Count a text's first token."""
        with self._lock:
            self.first_token_seconds.observe(seconds)

    def text_ended(self, tokens: int, seconds: float) -> None:
        """Count a text that ended `seconds` after its first token."""
        with self._lock:
            self._totals["texts"] += 1
            if tokens > 1:
                self.text_rate.observe((tokens - 1) / max(seconds, 1e-9))

    def cancelled(self, texts: int) -> None:
        """Count texts whose client left."""
        with self._lock:
            self._totals["cancelled_texts"] += texts

    def prometheus(self) -> str:
        """Return all figures in Prometheus' text format, version 0.0.4."""
        waiting, running = self.load()
        with self._lock:
            requests = "Answered requests, by endpoint and status."
            parts = [_headed("requests_total", "counter", requests, self._request_lines())]
            for name, text in COUNTERS.items():
                value = f"lmlab_{name}_total {self._totals[name]}"
                parts.append(_headed(f"{name}_total", "counter", text, [value]))
            busy = f"lmlab_busy_seconds_total {self.busy_seconds:.9g}"
            parts.append(_headed("busy_seconds_total", "counter", "Seconds spent in steps.", [busy]))
            gauges = {
                "texts_waiting": (waiting, "Texts that wait to join the batch."),
                "texts_running": (running, "Texts in the batch."),
                "batch_limit": (self._batch, "Texts that the batch holds at most."),
            }
            for name, (number, text) in gauges.items():
                parts.append(_headed(name, "gauge", text, [f"lmlab_{name} {number}"]))
            for name, histogram in self._histograms().items():
                parts.append(_headed(name, "histogram", histogram.help, histogram.lines(f"lmlab_{name}")))
        return "".join(parts)

    def summary(self) -> str:
        """Return the figures as one line."""
        with self._lock:
            tokens, texts = self._totals["generated_tokens"], self._totals["texts"]
            first, rates = list(self.first_token_seconds.latest), list(self.text_rate.latest)
            sizes = list(self.batch_size.latest)
            requests = sum(self._requests.values())
            together = tokens / self.busy_seconds if self.busy_seconds else 0.0
        if not tokens:
            return f"{requests:,} requests, no token generated"
        return (
            f"{requests:,} requests, {texts:,} texts, {tokens:,} tokens; first token after {1e3 * quantile(first, 0.5):,.0f} ms "
            f"(median), {1e3 * quantile(first, 0.95):,.0f} ms (95%); {together:,.0f} tokens/s together, "
            f"{quantile(rates, 0.5):,.0f} tokens/s a text (median), {sum(sizes) / len(sizes):.1f} texts a step"
        )

    def _histograms(self) -> dict[str, Histogram]:
        return {
            "first_token_seconds": self.first_token_seconds,
            "text_tokens_per_second": self.text_rate,
            "batch_tokens_per_second": self.batch_rate,
            "batch_size": self.batch_size,
        }

    def _request_lines(self) -> list[str]:
        # Endpoints are the server's own names, which need no escaping.
        return [
            f'lmlab_requests_total{{endpoint="{endpoint}",status="{status}"}} {count}'
            for (endpoint, status), count in sorted(self._requests.items())
        ]


COUNTERS = {
    "prompt_tokens": "Tokens of prompts.",
    "generated_tokens": "Tokens that were generated.",
    "texts": "Texts that were generated to their end.",
    "cancelled_texts": "Texts that ended because their client left.",
}


def _headed(name: str, kind: str, help_text: str, lines: Sequence[str]) -> str:
    return "\n".join([f"# HELP lmlab_{name} {help_text}", f"# TYPE lmlab_{name} {kind}", *lines, ""])
