"""Ranges of a file at an address, with retries. urllib alone: it knows proxies and redirections, and needs no package.

A new connection for each range costs a few round trips; ranges of megabytes are fetched ahead in threads
(`lmlab.data.shards.remote`), so that they overlap with the work on the text.
"""

from __future__ import annotations

import email.utils
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from typing import Any

from lmlab import LabError, __version__
from lmlab.data.progress import Progress, Silent
from lmlab.files import parse_json

TIMEOUT_SECONDS = 30.0
"""How long a connection may be silent."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0
"""The wait before the second attempt; it doubles up to the longest."""
PATIENCE_SECONDS = 600.0
"""How long it's tried again without a new byte."""
SAID_WAIT_SECONDS = 5.0
"""Waits from this length on are reported."""
BLOCK = 1 << 18
LARGEST_PAGE = 32 << 20
"""Size limit of a page of JSON, in bytes."""
CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
GONE, DENIED, BUSY = (404, 410), (401, 403), (429, 503)
AGAIN = "run the command again: it goes on from where it was"

_answered: set[str] = set()
"""Hosts that have answered this process. One that never did is unreachable; one that did may be back in a minute."""


class _Later(Exception):
    """An answer that can't be used, though the next one may."""


class _Short(Exception):
    """An answer ended early, after so many new bytes."""

    def __init__(self, reason: str, arrived: int) -> None:
        super().__init__(reason)
        self.arrived = arrived


@dataclass(kw_only=True)
class RemoteFile:
    """A file at an address, read in ranges; its methods may be called from several threads."""

    address: str
    name: str
    """Its name in messages."""
    size: int
    progress: Progress = field(default_factory=Silent)
    """Receives lines about waits, and nothing else."""
    fetched_bytes: int = 0
    """Bytes that have arrived."""
    mark: str | None = None
    """The server's ETag at the first range; every other range must have the same."""

    def __post_init__(self) -> None:
        self._direct = self.address
        """Where the address led: a hub's leads to a storage, whose address is valid for a while."""
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def close(self) -> None:
        """End all waits: reads that are waiting raise."""
        self._closed.set()

    def read(self, begin: int, end: int) -> bytes:
        """Return the bytes [begin, end), continued after each interruption.

        Raises LabError in one line if they can't be had: the address is gone or refused, the server sends no ranges or another
        file, or nothing has arrived for PATIENCE_SECONDS.
        """
        found = bytearray()

        def attempt() -> None:
            before, ended = len(found), "the connection ended"
            try:
                self._continue(begin + before, end, found)
            except (OSError, HTTPException) as error:
                if len(found) == before:
                    raise
                ended = _reason(error)
            if len(found) < end - begin:
                raise _Short(f"{ended} after {len(found):,} of {end - begin:,} bytes", len(found) - before)

        if end > begin:
            persist(attempt, self.name, self.address, self.progress, self._closed)
        return bytes(found)

    def _continue(self, begin: int, end: int, found: bytearray) -> None:
        """Append the bytes [begin, end) to `found`, as far as one connection brings them."""
        with self._opened(begin, end) as response:
            self._require_range(response, begin)
            self._direct = response.url
            missing = end - begin
            while missing and (block := response.read(min(BLOCK, missing))):
                found += block
                missing -= len(block)
                with self._lock:
                    self.fetched_bytes += len(block)

    def _opened(self, begin: int, end: int) -> Any:
        """Return the answer to a request for a range, from where the address led before if that is still valid."""
        direct = self._direct
        try:
            return urllib.request.urlopen(_range_request(direct, begin, end), timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            if direct == self.address or error.code not in (*GONE, *DENIED):
                raise
            error.close()
        return urllib.request.urlopen(_range_request(self.address, begin, end), timeout=TIMEOUT_SECONDS)

    def _require_range(self, response: Any, begin: int) -> None:
        """Raise LabError unless the answer is the requested part of the same file as before."""
        if response.status != 206:
            raise LabError(
                f"{_host(self.address)} sends no parts of files (HTTP {response.status} to a request for a range): download the "
                f"files of {self.name} and name their folder with --data.corpus FOLDER"
            )
        found = CONTENT_RANGE.fullmatch(str(response.headers.get("Content-Range", "")))
        if found is None or int(found[1]) != begin:
            raise _Later(f"the server sent another range than {begin:,} and following")
        if found[3] not in ("*", str(self.size)):
            raise self._changed(f"it has {int(found[3]):,} bytes, expected {self.size:,}")
        mark = _plain_mark(response.headers)
        with self._lock:
            before = self.mark = self.mark or mark
        if before and mark and mark != before:
            raise self._changed(f"its ETag was {before[:80]} and is {mark[:80]}")

    def _changed(self, how: str) -> LabError:
        return LabError(
            f"{self.name} changed at its source while it was read ({how}): prepare it again, or choose another revision"
        )


def get_json(address: str, name: str, progress: Progress) -> tuple[Any, str | None]:
    """Return the JSON value at an address, and the address of the next page where it has one; raises LabError as `RemoteFile`."""
    found: list[tuple[bytes, HTTPMessage]] = []

    def attempt() -> None:
        with urllib.request.urlopen(_request(address), timeout=TIMEOUT_SECONDS) as response:
            content = response.read(LARGEST_PAGE + 1)
            length = response.headers.get("Content-Length")
            if length is not None and length.isdigit() and len(content) < min(int(length), LARGEST_PAGE):
                raise _Short(f"the connection ended after {len(content):,} of {int(length):,} bytes", 0)
            found.append((content, response.headers))

    persist(attempt, name, address, progress, threading.Event())
    content, headers = found[0]
    try:
        if len(content) > LARGEST_PAGE:
            raise ValueError(f"more than {LARGEST_PAGE >> 20} MiB")
        value = parse_json(content)
    except ValueError as error:
        raise LabError(f"{name}: the answer of {address} is not JSON ({error})") from None
    return value, _next_page(headers.get("Link"), address)


def persist(attempt: Callable[[], None], name: str, address: str, progress: Progress, closed: threading.Event) -> None:
    """Call `attempt` until it returns; after a failure that may pass, wait and try again.

    Raises LabError for what doesn't pass, for a host that can't be reached and never answered, and after PATIENCE_SECONDS without
    a new byte.
    """
    wait, since, host = FIRST_WAIT_SECONDS, time.monotonic(), _host(address)
    while True:
        asked: float | None = None
        try:
            attempt()
            _answered.add(host)
            return
        except urllib.error.HTTPError as error:
            _answered.add(host)
            reason, asked = _judged(error, name, address)
        except _Later as later:
            reason = str(later)
        except _Short as short:
            _answered.add(host)
            reason = str(short)
            if short.arrived:  # go on at once
                wait, since = FIRST_WAIT_SECONDS, time.monotonic()
                continue
        except (OSError, HTTPException) as error:  # URLError and timeouts are OSErrors
            reason = _reason(error)
            if host not in _answered and _is_unreachable(error):
                raise LabError(
                    f"{name} can't be fetched from {host} ({reason}): check the network, or name a folder that has copies of the "
                    "files with --data.corpus FOLDER"
                ) from None
        pause = asked if asked is not None else wait
        if time.monotonic() + pause - since > PATIENCE_SECONDS:
            raise LabError(f"{name} can't be fetched from {host} ({reason}): {AGAIN}") from None
        if pause >= SAID_WAIT_SECONDS:
            progress.say(f"{name}: {reason}; trying again in {pause:.0f} s")
        if closed.wait(pause):
            raise LabError(f"{name}: reading was ended")
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def _judged(error: urllib.error.HTTPError, name: str, address: str) -> tuple[str, float | None]:
    """Return why an answer is an error, and the seconds that the server asks to wait; raises LabError for what doesn't pass."""
    with error:
        code = error.code
        reason = f"HTTP {code} {error.reason}"
        if code in GONE:
            raise LabError(f"{name} is not at {address} ({reason}): it was moved or removed at its source")
        if code in DENIED:
            raise LabError(f"{_host(address)} refuses {name} ({reason}): it may want an account, or to be asked later")
        if code == 416:
            raise LabError(
                f"{name} changed at its source ({reason}: it is shorter than its listing states): prepare it again"
            )
        if code not in BUSY and code != 408 and code < 500:
            raise LabError(f"{name} can't be fetched from {address} ({reason})")
        return reason, _retry_after(error.headers.get("Retry-After")) if code in BUSY else None


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def _is_unreachable(error: BaseException) -> bool:
    """Return whether a connection was refused or found no host, rather than being slow or broken."""
    return isinstance(error, urllib.error.URLError) and not isinstance(error.reason, TimeoutError)


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date; None if there is none."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _next_page(link: str | None, address: str) -> str | None:
    """Return the address of the next page in a Link header, on the same host only."""
    for part in (link or "").split(","):
        found = re.fullmatch(r'\s*<([^>]{1,4096})>\s*;.*\brel="?next"?.*', part)
        if found:
            following = urllib.parse.urljoin(address, found[1])
            return following if _host(following) == _host(address) else None
    return None


def _request(address: str) -> urllib.request.Request:
    return urllib.request.Request(
        address, headers={"User-Agent": f"lmlab/{__version__}", "Accept-Encoding": "identity"}
    )


def _range_request(address: str, begin: int, end: int) -> urllib.request.Request:
    request = _request(address)
    request.add_header("Range", f"bytes={begin}-{end - 1}")
    return request


def _plain_mark(headers: HTTPMessage) -> str | None:
    """Return the ETag without its quotes; the size alone identifies a file of a server without ETags."""
    found = str(headers.get("ETag", "")).strip().removeprefix("W/").strip('"')
    return found or None


def _host(address: str) -> str:
    return urllib.parse.urlsplit(address).netloc
