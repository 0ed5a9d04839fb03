"""A local server with the hub's addresses: a tree API and files in ranges, and the failures of servers and networks."""

from __future__ import annotations

import email.utils
import hashlib
import http.server
import json
import socket
import threading
import time
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit


class HubServer(http.server.ThreadingHTTPServer):
    """Serves the files of `folder` as a repository. `failures` are used up, one by each request for a range."""

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.failures: deque[dict] = deque()
        self.ranges = True
        self.etag = "v1"
        self.page = 1000
        """Entries of a page of the list."""
        self.redirects = True
        """Answer a file's address with that of its storage, as the hub does."""
        self.redirected = 0
        self.lifetime = 10**9
        """How many requests the address of a storage answers before it is refused."""
        self.asked: list[tuple[str, str]] = []
        """Path and range of every request that reached a file."""
        self.uses: dict[str, int] = {}
        self.listed = 0
        self.sent = 0
        """Bytes of files that were sent."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/datasets/"):
            self._list(path)
        elif "/resolve/" in path and self.server.redirects:
            self._redirect(f"/storage/{path.split('/resolve/')[1].split('/', 1)[1]}")
        elif self._is_expired():
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._file(path.split("/storage/")[-1])

    def _is_expired(self):
        """Whether the signature in the address was used too often; addresses without one never expire."""
        signature = urlsplit(self.path).query
        uses = self.server.uses[signature] = self.server.uses.get(signature, 0) + 1
        return bool(signature) and uses > self.server.lifetime

    def _redirect(self, target):
        self.server.redirected += 1
        target += f"?signature={self.server.redirected}"
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _list(self, path):
        """As https://huggingface.co/docs/hub/api has it: entries of a folder, a page at a time."""
        server = self.server
        server.listed += 1
        folder = path.split("/tree/")[1].split("/", 1)[1]
        entries = [
            {
                "type": "file" if place.is_file() else "directory",
                "oid": hashlib.sha1(place.name.encode()).hexdigest(),
                "size": place.stat().st_size,
                "path": place.relative_to(server.folder).as_posix(),
                **({"lfs": large_file(place)} if place.is_file() else {}),
            }
            for place in sorted((server.folder / folder).iterdir())
        ]
        begin = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        content = json.dumps(entries[begin : begin + server.page]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if begin + server.page < len(entries):
            self.send_header("Link", f'<{server.endpoint}{path}?cursor={begin + server.page}>; rel="next"')
        self.end_headers()
        self.wfile.write(content)

    def _file(self, name):
        server = self.server
        asked = self.headers.get("Range", "")
        server.asked.append((name, asked))
        failure = server.failures.popleft() if server.failures else {}
        content = (server.folder / name).read_bytes() if (server.folder / name).is_file() else b""
        time.sleep(failure.get("delay", 0))
        status = failure.get("status") or (206 if content else 404)
        if status >= 400:
            self.send_response(status)
            if "retry_after" in failure:
                self.send_header("Retry-After", failure["retry_after"])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, last = (int(part) for part in asked.removeprefix("bytes=").split("-"))
        part = content[first : last + 1]
        if not server.ranges:
            part, status = content, 200
        self.send_response(status)
        if status == 206:
            self.send_header(
                "Content-Range", f"bytes {first}-{first + len(part) - 1}/{failure.get('size', len(content))}"
            )
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", f'"{failure.get("etag", server.etag)}"')
        self.end_headers()
        part = part[: failure.get("most", len(part))]
        try:
            self.wfile.write(part)
            self.wfile.flush()
        except OSError:  # the client has seen enough
            self.close_connection = True
            return
        server.sent += len(part)
        if "most" in failure:  # a connection that breaks
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *arguments):
        pass


def large_file(path: Path) -> dict:
    """What the hub says of a file in its large file storage."""
    return {"oid": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size, "pointerSize": 135}


def http_date(seconds_from_now: float) -> str:
    return email.utils.formatdate(time.time() + seconds_from_now, usegmt=True)


@contextmanager
def serving(folder: Path):
    """The server, running."""
    with HubServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
