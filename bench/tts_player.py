"""A player on paper: what a listener hears of audio that comes bit by bit. Exact: it counts in whole numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """So many bytes of audio, which came `at` nanoseconds after the request was sent."""

    at: int
    size: int


@dataclass(frozen=True, slots=True)
class Playback:
    """How often the player had nothing left before the end, and the seconds of silence that this made."""

    underruns: int
    silence: Fraction


def play(arrivals: Iterable[Arrival], *, bytes_per_second: int) -> Playback:
    """Play from the first byte on; an underrun is the buffer being empty before the next bytes are there.

    Arrivals are in the order of their times. Raises ValueError when there is no audio.
    """
    # In byte-nanoseconds both a time and an amount of audio are whole numbers.
    empty_at: int | None = None
    underruns = silence = 0
    for arrival in arrivals:
        if not arrival.size:
            continue
        now = arrival.at * bytes_per_second
        if empty_at is None:
            empty_at = now
        elif now > empty_at:
            underruns += 1
            silence += now - empty_at
            empty_at = now
        empty_at += arrival.size * NANOSECONDS
    if empty_at is None:
        raise ValueError("no audio came")
    return Playback(underruns, Fraction(silence, bytes_per_second * NANOSECONDS))
