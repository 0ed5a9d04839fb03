"""The thread that generates: it takes work from a bounded queue into the batch, and returns events to the requests' event loops.

    submit -> queue -> [join the batch, a step, events] until each text has ended, failed or been cancelled

A request's work is a ticket. Texts join in the order of their requests; between two steps only so many prompt tokens are read that
running texts wait for a bounded time. Prompts whose own log-probabilities are asked for take a forward pass in their turn.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from lmlab import LabError
from lmlab.generation.batch import Batch, Written
from lmlab.generation.choice import Scored, Text
from lmlab.generation.prompt_scores import score_prompt
from lmlab.generation.writer import Reason
from lmlab.serve.errors import ApiError
from lmlab.serve.metrics import Metrics
from lmlab.serve.served import Limits, Served

PROMPT_TOKENS_A_STEP = 1024
"""Tokens of prompts that join between two steps; a single prompt may have more."""
LONGEST_RETRY = 60


@dataclass(frozen=True, kw_only=True)
class PromptScored:
    """The log-probabilities of a prompt's tokens, but for the first."""

    place: int
    """The prompt's index in its request."""
    scores: Sequence[Scored]


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token of one of the request's texts."""

    written: Written
    reason: Reason | None
    """Why the text ended with it; None if it goes on."""

    @property
    def choice(self) -> int:
        """The text's index in its request."""
        return self.written.text.writer.number


Event = PromptScored | Token


@dataclass(eq=False, kw_only=True)
class Ticket:
    """A request's work, and the events that it has led to."""

    loop: asyncio.AbstractEventLoop
    arrived: float
    """In `time.perf_counter()`."""
    open: int
    """Prompts to score and texts to generate that haven't ended."""
    queue: asyncio.Queue[Event | ApiError] = field(default_factory=asyncio.Queue)
    cancelled: bool = False

    async def events(self) -> AsyncIterator[Event]:
        """Yield the events until all work is done. ApiError if it failed."""
        while self.open:
            event = await self.queue.get()
            if isinstance(event, ApiError):
                raise event
            if isinstance(event, PromptScored) or event.reason is not None:
                self.open -= 1
            yield event


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """A prompt whose tokens' log-probabilities are wanted."""

    place: int
    ids: Sequence[int]
    alternatives: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Waiting:
    ticket: Ticket
    work: Text | Scoring


@dataclass(eq=False, kw_only=True)
class _Running:
    ticket: Ticket
    first: float | None = None
    """When its first token was generated."""


class Scheduler:
    """Owns the batch; `submit` and `cancel` may be called by any thread with an event loop."""

    def __init__(self, served: Served, limits: Limits, metrics: Metrics, say: Callable[[str], object]) -> None:
        """`say` is called with a line for each unexpected error."""
        self._served, self._limits, self._metrics, self._say = served, limits, metrics, say
        self._changed = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._texts: dict[Text, _Running] = {}
        self._closed, self._stopped = False, False
        self._batch = Batch(served.model, served.tokenizer.vocabulary_size, limits.batch)
        self._thread = threading.Thread(target=self._run, name="lmlab-serve", daemon=True)
        metrics.load = lambda: (len(self._queue), len(self._texts))

    def start(self) -> None:
        """Begin to generate."""
        self._thread.start()

    def close(self) -> None:
        """Accept no more work, and refuse what waits; texts in the batch go on. May be called by a signal handler."""
        self._closed = True

    def stop(self) -> None:
        """End the thread; what is left fails."""
        with self._changed:
            self._closed = self._stopped = True
            self._changed.notify()
        self._thread.join()

    def submit(self, scorings: Sequence[Scoring], texts: Sequence[Text]) -> Ticket:
        """Queue a request's work. ApiError 503 if the queue has too little room, or the server is stopping."""
        ticket = Ticket(loop=asyncio.get_running_loop(), arrived=time.perf_counter(), open=len(scorings) + len(texts))
        with self._changed:
            if self._closed:
                raise _stopping()
            # What fits the batch at once doesn't wait.
            room = self._limits.queue + max(0, self._batch.rows - len(self._texts))
            if len(self._queue) + ticket.open > room:
                raise ApiError(
                    503,
                    f"{len(self._queue)} texts wait already, and at most {self._limits.queue} may: try again later",
                    code="queue_full",
                    retry_after=self._retry_after(),
                )
            self._queue.extend(_Waiting(ticket=ticket, work=scoring) for scoring in scorings)
            self._queue.extend(_Waiting(ticket=ticket, work=text) for text in texts)
            self._changed.notify()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Drop a ticket's work: its client has left. Does nothing if all of it is done."""
        with self._changed:
            ticket.cancelled = True
            self._changed.notify()

    def _retry_after(self) -> int:
        """Return the seconds in which the waiting texts may have been generated: whole batches, at the time of the latest texts."""
        rates = list(self._metrics.text_rate.latest)[-100:]
        seconds = 100 / (sum(rates) / len(rates)) if rates else 1.0
        return max(1, min(LONGEST_RETRY, round(seconds * (1 + len(self._queue) // self._batch.rows))))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._drop_cancelled()
                if self._closed:
                    self._fail([one.ticket for one in self._queue], _stopping())
                    self._queue.clear()
                if self._stopped:
                    self._fail([one.ticket for one in self._texts.values()], _stopping())
                    return
                if not self._queue and not self._texts:
                    # A timeout, because a signal handler can't notify.
                    self._changed.wait(timeout=1.0)
                    continue
                joining = self._joining()
            try:
                self._work(joining)
            except Exception as error:
                self._recover(error, joining)

    def _joining(self) -> list[_Waiting]:
        """Take from the queue what is to be read before the next step."""
        found: list[_Waiting] = []
        tokens, free = 0, self._batch.free
        while self._queue:
            work = self._queue[0].work
            size = len(work.ids) if isinstance(work, Scoring) else len(work.writer.window)
            if (found and tokens + size > PROMPT_TOKENS_A_STEP) or (isinstance(work, Text) and not free):
                break
            tokens += size
            free -= isinstance(work, Text)
            found.append(self._queue.popleft())
        return found

    def _work(self, joining: Sequence[_Waiting]) -> None:
        """Read what joins, and add a token to each text."""
        served = self._served
        for one in joining:
            work = one.work
            if isinstance(work, Text):
                self._texts[work] = _Running(ticket=one.ticket)
                self._batch.join(work)
            else:
                size = served.tokenizer.vocabulary_size
                scores = score_prompt(served.model, work.ids, size, work.alternatives)
                self._deliver([(one.ticket, PromptScored(place=work.place, scores=scores))])
        if not self._texts:
            return
        began = time.perf_counter()
        written = self._batch.step()
        now = time.perf_counter()
        self._metrics.step(len(written), now - began)
        self._deliver([(self._texts[one.text].ticket, self._token(one, now)) for one in written])
        for text in [one.text for one in written if one.text.writer.reason is not None]:
            del self._texts[text]

    def _token(self, written: Written, now: float) -> Token:
        """Return the event of a token, and measure it."""
        running, writer = self._texts[written.text], written.text.writer
        if running.first is None:
            running.first = now
            self._metrics.first_token(now - running.ticket.arrived)
        if writer.reason is not None:
            self._metrics.text_ended(writer.drawn, now - running.first)
        return Token(written=written, reason=writer.reason)

    def _drop_cancelled(self) -> None:
        """Remove the work of clients that left."""
        if any(one.ticket.cancelled for one in self._queue):
            self._queue = deque(one for one in self._queue if not one.ticket.cancelled)
        gone = [text for text, running in self._texts.items() if running.ticket.cancelled]
        for text in gone:
            self._batch.leave(text)
            del self._texts[text]
        if gone:
            self._metrics.cancelled(len(gone))

    def _recover(self, error: Exception, joining: Sequence[_Waiting]) -> None:
        """Fail all requests that were in work, and go on with an empty batch."""
        detail = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
        self._say(f"generation failed ({detail}); the requests in work were answered with an error")
        tickets = [*(one.ticket for one in joining), *(one.ticket for one in self._texts.values())]
        message = str(error) if isinstance(error, LabError) else "generation failed; the server's log has the reason"
        self._fail(tickets, ApiError(500, message, code="generation_failed"))
        with self._changed:
            self._texts.clear()
            failed = set(tickets)
            self._queue = deque(one for one in self._queue if one.ticket not in failed)
        # Its slots drop what they hold of texts that aren't named any more.
        self._batch.texts.clear()

    def _fail(self, tickets: Sequence[Ticket], error: ApiError) -> None:
        self._deliver([(ticket, error) for ticket in dict.fromkeys(tickets)])

    def _deliver(self, events: Sequence[tuple[Ticket, Event | ApiError]]) -> None:
        """Hand events to their requests, with one call for each event loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, Event | ApiError]]] = {}
        for ticket, event in events:
            by_loop.setdefault(ticket.loop, []).append((ticket, event))
        for loop, some in by_loop.items():
            try:
                loop.call_soon_threadsafe(_put, some)
            except RuntimeError:
                # The loop is closed: nobody waits any more.
                for ticket, _ in some:
                    ticket.cancelled = True


def _put(events: Sequence[tuple[Ticket, Event | ApiError]]) -> None:
    for ticket, event in events:
        ticket.queue.put_nowait(event)


def _stopping() -> ApiError:
    return ApiError(503, "the server is stopping: try again later", code="stopping", retry_after=5)
