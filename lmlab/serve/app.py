"""The HTTP interface: OpenAI's paths, those for tokens, health and metrics, and the chat page.

request -> gate -> body -> what is asked for -> ticket of the scheduler -> answer, whole or as server-sent events
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lmlab import LabError
from lmlab.serve.answers import Answer, ChatAnswer, CompletionAnswer
from lmlab.serve.body import ClientLeft, disconnected, read_body
from lmlab.serve.errors import ApiError, of_lab_error
from lmlab.serve.fields import Fields, shown
from lmlab.serve.guard import Gate
from lmlab.serve.metrics import CONTENT_TYPE, Metrics
from lmlab.serve.page import page
from lmlab.serve.request_prompts import chat_prompt, require_tokens
from lmlab.serve.requests import Asked, read_chat, read_completion, require_model
from lmlab.serve.scheduler import Scheduler, Ticket
from lmlab.serve.served import Limits, Served

Endpoint = Callable[[Request], Awaitable[ASGIApp]]
SECURITY = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
LEFT = 499
"""Status that is counted where the client left; nobody receives it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Server:
    """What the endpoints share."""

    served: Served
    limits: Limits
    scheduler: Scheduler
    metrics: Metrics
    gate: Gate
    say: Callable[[str], object]
    """Called with a line for each unexpected error."""
    began: int

    def app(self) -> Starlette:
        """Return the ASGI application."""
        routes = [
            Route("/", self._endpoint("page", self._page)),
            Route("/health", self._endpoint("health", self._health)),
            Route("/metrics", self._endpoint("metrics", self._metrics)),
            Route("/v1/models", self._endpoint("models", self._models)),
            Route("/v1/models/{name:path}", self._endpoint("models", self._model)),
            Route("/v1/completions", self._endpoint("completions", self._completions), methods=["POST"]),
            Route("/v1/chat/completions", self._endpoint("chat", self._chat), methods=["POST"]),
            Route("/tokenize", self._endpoint("tokenize", self._tokenize), methods=["POST"]),
            Route("/detokenize", self._endpoint("detokenize", self._detokenize), methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: self._not_found})

    def _endpoint(self, name: str, answer: Endpoint) -> Callable[[Request], Awaitable[ASGIApp]]:
        """Return an endpoint that passes the gate, answers errors as objects, and is counted."""

        async def endpoint(request: Request) -> ASGIApp:
            try:
                self.gate.require(request.url.path, request.headers)
                response = await answer(request)
            except ApiError as error:
                response = _refused(error)
            except ClientLeft:
                response = Response(status_code=LEFT)
            except Exception as error:
                self.say(f"{name} failed ({type(error).__name__}: {error}); the request was answered with an error")
                response = _refused(ApiError(500, "the server failed; its log has the reason", code="internal"))
            self.metrics.request(name, getattr(response, "status_code", 200))
            return response

        return endpoint

    async def _not_found(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status = error.status_code
        self.metrics.request("other", status)
        try:
            self.gate.require(request.url.path, request.headers)
        except ApiError as refusal:
            return _refused(refusal)
        reason = "no such path" if status == 404 else f"{request.method} isn't possible here"
        return _refused(
            ApiError(status, f"{shown(request.url.path)}: {reason}; docs/serving.md lists the paths", code="not_found")
        )

    async def _page(self, request: Request) -> ASGIApp:
        text, policy = page()
        return Response(text, media_type="text/html", headers={**SECURITY, "Content-Security-Policy": policy})

    async def _health(self, request: Request) -> ASGIApp:
        return JSONResponse({"status": "ok"}, headers=SECURITY)

    async def _metrics(self, request: Request) -> ASGIApp:
        return Response(self.metrics.prometheus(), headers={**SECURITY, "Content-Type": CONTENT_TYPE})

    async def _models(self, request: Request) -> ASGIApp:
        return JSONResponse({"object": "list", "data": [self._described()]}, headers=SECURITY)

    async def _model(self, request: Request) -> ASGIApp:
        require_model(Fields({"model": request.path_params["name"]}), self.served)
        return JSONResponse(self._described(), headers=SECURITY)

    def _described(self) -> dict[str, Any]:
        served = self.served
        return {
            "id": served.name,
            "object": "model",
            "created": self.began,
            "owned_by": "lmlab",
            "max_model_len": served.model.context,
            "step": served.step,
            "template": None if served.template is None else served.template.name,
        }

    async def _completions(self, request: Request) -> ASGIApp:
        asked = read_completion(await read_body(request, self.limits), self.served, self.limits)
        return await self._answered(request, asked, CompletionAnswer(asked, self.served))

    async def _chat(self, request: Request) -> ASGIApp:
        asked = read_chat(await read_body(request, self.limits), self.served, self.limits)
        return await self._answered(request, asked, ChatAnswer(asked, self.served))

    async def _answered(self, request: Request, asked: Asked, answer: Answer) -> ASGIApp:
        texts = asked.new_texts(self.served)
        ticket = self.scheduler.submit(answer.scorings(), texts)
        self.metrics.prompt(sum(map(len, asked.prompts)))
        if asked.stream:
            return EventStream(_chunks(ticket, answer), lambda: self.scheduler.cancel(ticket))
        answer.begin()
        await self._collected(request, ticket, answer)
        return JSONResponse(answer.whole(), headers=SECURITY)

    async def _collected(self, request: Request, ticket: Ticket, answer: Answer) -> None:
        """Wait until all texts have ended; ClientLeft, and their work cancelled, if the client leaves before."""

        async def collect() -> None:
            async for event in ticket.events():
                answer.take(event)

        if not await _unless_left(collect(), request.receive):
            self.scheduler.cancel(ticket)
            raise ClientLeft

    async def _tokenize(self, request: Request) -> ASGIApp:
        fields = Fields(await read_body(request, self.limits))
        require_model(fields, self.served)
        prompt = fields.take("prompt")
        if prompt is None:
            ids = chat_prompt(fields, self.served)
        else:
            try:
                ids = self.served.encode(Fields({"prompt": prompt}).text("prompt"))
            except LabError as error:
                raise of_lab_error(error, "prompt") from None
        names = fields.truth("return_token_strs")
        fields.done({"add_special_tokens": (False,)})
        found: dict[str, Any] = {"count": len(ids), "max_model_len": self.served.model.context, "tokens": ids}
        if names:
            found["token_strs"] = [self.served.token_name(token) for token in ids]
        return JSONResponse(found, headers=SECURITY)

    async def _detokenize(self, request: Request) -> ASGIApp:
        fields = Fields(await read_body(request, self.limits))
        require_model(fields, self.served)
        ids = require_tokens(fields.take("tokens"), self.served, "tokens")
        fields.done({})
        spelt = b"".join(self.served.bytes_of(token) for token in ids)
        return JSONResponse({"prompt": spelt.decode("utf-8", errors="replace")}, headers=SECURITY)


class EventStream:
    """A response of server-sent events; `cancel` is called if the client leaves before the end."""

    status_code = 200

    def __init__(self, chunks: AsyncIterator[str], cancel: Callable[[], None]) -> None:
        self._chunks, self._cancel = chunks, cancel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events as they come."""
        headers = {**SECURITY, "Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status_code, "headers": raw})

        async def send_all() -> None:
            async for chunk in self._chunks:
                body = f"data: {chunk}\n\n".encode()
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})

        try:
            if not await _unless_left(send_all(), receive):
                self._cancel()
        except BaseException:
            self._cancel()
            raise


async def _chunks(ticket: Ticket, answer: Answer) -> AsyncIterator[str]:
    """Yield the chunks of an answer as JSON; one with an error object if the work fails."""
    for chunk in answer.begin():
        yield json.dumps(chunk)
    try:
        async for event in ticket.events():
            made = answer.chunk(event)
            if made is not None:
                yield json.dumps(made)
    except ApiError as error:
        yield json.dumps(error.to_json())
        return
    last = answer.end()
    if last is not None:
        yield json.dumps(last)


async def _unless_left(work: Any, receive: Receive) -> bool:
    """Await `work` while the client is there; return whether it was done before the client left."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return True
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


def _refused(error: ApiError) -> JSONResponse:
    headers = dict(SECURITY)
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.to_json(), status_code=error.status, headers=headers)
