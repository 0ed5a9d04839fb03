"""Downloads: complete, verified, resumed after an interruption; a local server replaces the network."""

import errno
import hashlib
import http.server
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lmlab import LabError, StorageError
from lmlab.data.download import download
from lmlab.files import Storage
from tests.data.support import Listener

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; may cut each answer short, ignore ranges or answer with an error."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.most = len(CONTENT)
        self.ranges = True
        self.status = 200
        self.content = CONTENT
        self.asked: list[str] = []

    def address(self):
        return f"http://127.0.0.1:{self.server_port}/file"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range", "")
        server.asked.append(asked)
        if server.status != 200:
            self.send_error(server.status)
            return
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        rest = server.content[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.most])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def fetch(server, target, listener=None, **changes):
    return download(
        [server.address()], target, **{"sha256": SHA256, "size": len(CONTENT), "progress": listener, **changes}
    )


def test_file_arrives_whole_with_its_progress_and_is_not_fetched_twice(server, tmp_path):
    listener = Listener()
    path = fetch(server, tmp_path / "new" / "file", listener)
    assert path.read_bytes() == CONTENT
    assert (listener.tasks, listener.done) == ([("downloading file", len(CONTENT))], [len(CONTENT)])
    assert fetch(server, path).read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert {entry.name for entry in path.parent.iterdir()} == {"file", ".file.lock"}


def test_two_at_once_fetch_it_once(server, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda number: fetch(server, tmp_path / "file"), range(2)))
    assert paths[0].read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_connection_that_breaks_is_taken_up_where_it_broke(server, tmp_path):
    server.most = 300_000
    listener = Listener()
    assert fetch(server, tmp_path / "file", listener).read_bytes() == CONTENT
    assert server.asked == ["", "bytes=300000-", "bytes=600000-", "bytes=900000-"]
    assert listener.done == [len(CONTENT)]


def test_an_earlier_process_s_part_is_continued(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    assert fetch(server, tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


def test_server_without_ranges_starts_again(server, tmp_path):
    server.ranges = False
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    listener = Listener()
    assert fetch(server, tmp_path / "file", listener).read_bytes() == CONTENT
    assert listener.done == [len(CONTENT)]


def test_other_bytes_than_expected_are_thrown_away_with_a_reason(server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(LabError, match=f"came with SHA-256 [0-9a-f]{{64}}, expected {SHA256}") as caught:
        fetch(server, tmp_path / "file", advice="use another")
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == [".file.lock"]


def test_larger_file_than_expected_never_fills_the_disk(server, tmp_path):
    server.content = CONTENT * 3
    with pytest.raises(LabError, match="the server sends more bytes than the file has|came with SHA-256"):
        fetch(server, tmp_path / "file", sha256="0" * 64)
    assert sum(entry.stat().st_size for entry in tmp_path.iterdir()) <= len(CONTENT)


def test_server_that_refuses_is_named_with_what_to_do(server, tmp_path):
    server.status = 404
    with pytest.raises(LabError) as caught:
        fetch(server, tmp_path / "file", advice="or use --data.corpus FILE")
    message = str(caught.value)
    assert message.startswith("file can't be downloaded (HTTP 404 Not Found): put the file from http://")
    assert str(tmp_path / "file") in message and message.endswith("or use --data.corpus FILE")


def test_second_address_helps_where_the_first_fails(server, tmp_path):
    addresses = ["http://127.0.0.1:9/closed", server.address()]
    assert download(addresses, tmp_path / "file", sha256=SHA256, size=len(CONTENT)).read_bytes() == CONTENT


def test_no_connection_keeps_the_part_for_later(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "file.part").write_bytes(CONTENT[:10])
    with pytest.raises(LabError, match="can't be downloaded .*refused"):
        download(["http://127.0.0.1:9/closed"], tmp_path / "file", sha256=SHA256, size=len(CONTENT))
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:10]


def test_full_disk_is_noticed_before_the_download(tmp_path):
    with pytest.raises(LabError, match="downloading file needs"):
        download(["http://127.0.0.1:9/"], tmp_path / "file", sha256=SHA256, size=10**18)


def test_a_full_disk_is_no_broken_connection(server, tmp_path, monkeypatch):
    def write(self, file, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "write", write)
        with pytest.raises(StorageError, match="file.part can't be written: No space left on device"):
            fetch(server, tmp_path / "file")
    assert len(server.asked) == 1
    assert fetch(server, tmp_path / "file").read_bytes() == CONTENT
