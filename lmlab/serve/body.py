"""Reading a request's body: bounded in bytes and in time, and strict JSON."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from lmlab.files import parse_json
from lmlab.serve.errors import ApiError
from lmlab.serve.served import Limits


class ClientLeft(Exception):
    """The client closed the connection before it had its answer."""


async def read_body(request: Request, limits: Limits) -> Any:
    """Return the JSON value of a request's body. ApiError if it is too large, too slow, not JSON, or of another type."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # Also what keeps pages of other sites out: a browser asks before it sends this type.
        raise ApiError(
            415, "the request's Content-Type isn't application/json: send that header", code="wrong_content_type"
        )
    try:
        async with asyncio.timeout(limits.body_seconds):
            content = await _content(request, limits.body_bytes)
    except TimeoutError:
        raise ApiError(
            408, f"the request didn't arrive within {limits.body_seconds:g} seconds: send it faster", code="too_slow"
        ) from None
    except ClientDisconnect:
        raise ClientLeft from None
    try:
        return parse_json(content)
    except ValueError as error:
        raise ApiError(400, f"the request isn't acceptable JSON: {error}", code="invalid_json") from None


async def _content(request: Request, most: int) -> bytes:
    """Return the body, of at most `most` bytes."""
    too_large = ApiError(413, f"the request has more than {most:,} bytes: send less", code="too_large")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and len(length) <= 20 and int(length) > most:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise too_large
        parts.append(part)
    return b"".join(parts)


async def disconnected(receive: Receive) -> None:
    """Return when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
