"""What a service that is told to stop does with the requests it has."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import Any

import pytest

from tests.full_service import SETTINGS, filled, stopped, worker

pytestmark = pytest.mark.e2e


def test_the_running_request_is_answered_and_the_queued_one_sent_elsewhere(start_service: Any) -> None:
    # 0.6 seconds for each, once the engine goes on.
    options = {"ASR_ENGINE_OPTIONS__DELAY": "0.1", "ASR_ENGINE_OPTIONS__SEGMENT_SECONDS": "1"}
    service = start_service("asr", {**SETTINGS, **options})
    with ExitStack() as halted:
        halted.enter_context(stopped(worker(service.url)))
        with filled(service.url) as sent:
            service.process.send_signal(signal.SIGTERM)
            refused = sent.waiting.result()
            assert not any(each.done() for each in sent.running)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
            assert int(refused.headers["retry-after"]) <= 60
            halted.close()
            for each in sent.running:
                assert each.result().status_code == 200
                assert each.result().json()["text"]
    assert service.process.wait(20) in {0, -signal.SIGTERM}
