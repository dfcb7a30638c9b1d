"""Remembers what a worker said last, so that a short text that is said again and again costs nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from core.worker import Event
from tts.voice import SpeechOptions, Voice

MAX_CHARS = 200
"""Longest text that is remembered."""
_EVENT_BYTES = 1024
"""About what an event takes besides its samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """All that decides how a text sounds; `recording` tells which one a cloned voice is of."""

    text: str
    voice: Voice
    options: SpeechOptions
    recording: Hashable
    delivery: Hashable


class Utterances:
    """The events of whole answers, at most `limit` bytes of them; those used last stay. For all threads of a worker."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._known: OrderedDict[Key, tuple[Event, ...]] = OrderedDict()
        self._size = 0
        self._forgotten = 0

    @property
    def edition(self) -> int:
        """A number that changes when a voice is forgotten."""
        return self._forgotten

    def get(self, key: Key) -> Sequence[Event] | None:
        """Return what was kept."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
            return self._known.get(key)

    def keep(self, key: Key, events: Sequence[Event], *, edition: int) -> None:
        """Keep an answer that was begun in this edition, unless a voice was forgotten since or it is too large."""
        size = size_of(events)
        with self._lock:
            if edition != self._forgotten or size > self.limit:
                return
            self._drop(key)
            self._known[key] = tuple(events)
            self._size += size
            while self._size > self.limit:
                self._drop(next(iter(self._known)))

    def forget(self, voice: Voice) -> None:
        """Drop all that was said in a voice."""
        with self._lock:
            self._forgotten += 1
            for key in [key for key in self._known if key.voice.id == voice.id]:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        self._size -= size_of(self._known.pop(key, ()))


def size_of(events: Sequence[Event]) -> int:
    """Return about how many bytes events take."""
    return sum(len(event.body) + _EVENT_BYTES for event in events)
