"""Judges as real HTTP servers on loopback, with an OpenAI-compatible interface."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def served(reply, statuses=()):
    """An OpenAI-compatible server on loopback: `reply(prompt)` is the answer; the first requests get `statuses` instead."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.asked.append(body)
            self.server.headers.append(dict(self.headers))
            status = self.server.statuses.pop(0) if self.server.statuses else 200
            content = b""
            if status == 200:
                said = reply(body["messages"][-1]["content"])
                choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
                content = json.dumps(
                    {"choices": [choice], "usage": {"prompt_tokens": 300, "completion_tokens": 8}}
                ).encode()
            self.send_response(status)
            if status == 307:
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.headers, server.statuses = [], [], list(statuses)
    server.address = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
