"""The /livez probe, against a server of the standard library."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.load import probe_under_load


class Handler(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_probes_are_taken_while_the_work_goes_on(url: str) -> None:
    worked = threading.Semaphore(0)

    def work() -> None:
        worked.release()
        threading.Event().wait(0.01)

    found = probe_under_load({"busy": work}, {"one": url, "two": url}, seconds=0.5)
    assert worked.acquire(blocking=False)
    assert {name: len(probes) > 1 and min(probes) > 0 for name, probes in found.items()} == {"one": True, "two": True}


def test_work_that_fails_ends_the_measurement(url: str) -> None:
    def work() -> None:
        raise ConnectionError("the service is gone")

    with pytest.raises(ConnectionError, match="gone"):
        probe_under_load({"busy": work}, {"one": url}, seconds=60)


def test_an_answer_that_is_not_ok_is_no_probe(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handler, "status", 503)
    with pytest.raises(RuntimeError, match="503"):
        probe_under_load({"busy": lambda: threading.Event().wait(0.01)}, {"one": url}, seconds=0.2)
