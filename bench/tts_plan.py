"""How much `make bench-tts` measures: which sides speak at each length and number of clients, and how often."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from bench.results import is_quick
from bench.tts_cells import ADAPTIVE, BARE, CREATE, KOKORO, MP3, SERVICE
from bench.tts_sides import FASTKOKORO
from bench.tts_texts import BRIEF, LENGTHS, LONG, TWO_SENTENCES, Length

CLIENTS = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Part:
    """Sides measured in turn at one length and number of clients; the warm-up rounds are not counted."""

    length: Length
    clients: int
    sides: tuple[str, ...]
    rounds: int
    warm_up: int

    @property
    def answers(self) -> int:
        """How many calls of a side this makes, all sides taken together."""
        return len(self.sides) * (self.rounds + self.warm_up)


def parts(engine: str, *, quick: bool, characters: frozenset[int] | None = None) -> Iterator[Part]:
    """Yield what is measured of an engine; `characters` chooses among the lengths.

    Quick: everything that a figure is made of, and of the rest our service alone and only once.
    """
    everything = (SERVICE, BARE[engine], FASTKOKORO) if engine == KOKORO else (SERVICE, BARE[engine])
    for length in LENGTHS:
        if characters is not None and length.characters not in characters:
            continue
        decisive = length not in (BRIEF, LONG)
        besides = (MP3,) if length is TWO_SENTENCES else ()
        if quick:
            rounds = 1 if length is LONG else 3
            alone = (*everything, *besides) if decisive else (SERVICE,)
            yield Part(length, 1, alone, rounds, warm_up=int(decisive))
            if length is TWO_SENTENCES:
                yield from (Part(length, clients, (SERVICE,), 1, 0) for clients in CLIENTS[1:])
            continue
        if engine == KOKORO and decisive:
            besides = (*besides, ADAPTIVE, CREATE)
        yield Part(length, 1, (*everything, *besides), 3 if length is LONG else 5, warm_up=int(length is not LONG))
        yield from (Part(length, clients, everything, 3, 0) for clients in CLIENTS[1:])


def chosen() -> frozenset[int] | None:
    """Return the lengths that CHARACTERS names, None for all; ValueError for one that there is not."""
    text = os.environ.get("CHARACTERS", "").strip()
    if not text:
        return None
    found = frozenset(int(one) for one in text.split(","))
    if unknown := found - {length.characters for length in LENGTHS}:
        raise ValueError(f"CHARACTERS: there are no texts of {sorted(unknown)} characters")
    return found


def planned(engine: str) -> list[Part]:
    """Return what the environment asks to be measured of an engine."""
    return list(parts(engine, quick=is_quick(), characters=chosen()))
