"""The gate before every request: which hosts may be named, from which pages a browser may ask, and the token.

A page of another site that a browser shows could send requests to a server on this machine: under its own name, made to point here
(DNS rebinding), or across sites. So the Host header must be an IP address or one of the server's names, which no such page has, and
an Origin header must name the same host.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lmlab.serve.errors import ApiError

LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})
OPEN = frozenset({"/", "/health"})
"""Paths that need no token: the page asks for it, and a health check has none."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What is let through."""

    names: Collection[str]
    """Host names of the server, in lower case, besides those of loopback."""
    token: str | None
    """The bearer token; None: none is asked for."""

    def require(self, path: str, headers: Mapping[str, str]) -> None:
        """Raise ApiError unless a request may be answered. `headers` have names in lower case."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise ApiError(
                421, "the Host header names another server: use this one's address", code="wrong_host", field=None
            )
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise ApiError(403, "a page of another site may not use this server", code="wrong_origin")
        if self.token is not None and path not in OPEN and not self._has_token(headers.get("authorization", "")):
            raise ApiError(
                401,
                "the request has no valid token: send the header Authorization: Bearer TOKEN",
                code="invalid_api_key",
            )

    def _is_ours(self, host: str) -> bool:
        name = host_name(host)
        if name is None:
            return False
        return name in LOOPBACK_NAMES or name in self.names or is_address(name)

    def _has_token(self, header: str) -> bool:
        kind, _, given = header.partition(" ")
        # Compared in constant time, and as bytes, because it may have any characters.
        right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), (self.token or "").encode())
        return right and kind.lower() == "bearer"


def host_name(host: str) -> str | None:
    """Return the name or address in a Host header, without its port; None if it is invalid."""
    name, port = host, ""
    if host.startswith("["):
        name, closed, port = host[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            return None
        port = port[1:]
    elif ":" in host:
        name, _, port = host.rpartition(":")
    if not name or (port and not (port.isascii() and port.isdigit())):
        return None
    return name.lower().removesuffix(".")


def is_address(name: str) -> bool:
    """Return whether it is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host to bind to is reached from this machine alone."""
    return host.lower() in LOOPBACK_NAMES or (is_address(host) and ipaddress.ip_address(host).is_loopback)
