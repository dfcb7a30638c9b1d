"""The socket that a service listens on."""

from __future__ import annotations

import socket

import pytest

from core.errors import ConfigurationError
from voice_stack.cli import runner


def test_answers_are_sent_at_once_and_not_held_back_for_an_acknowledgement() -> None:
    # Seen from outside this is 40 ms on every second request over one connection.
    with runner._listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_named() -> None:
    with runner._listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}"):
            runner._listen("127.0.0.1", port)
