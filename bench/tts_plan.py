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


def parts(engine: str, *, quick: bool, characters: frozenset[int] | None = None) -> Iterator[Part]:
    """Yield what is measured of an engine; `characters` chooses among the lengths.

    Quick: everything that a figure is made of, and of the rest our service and the bare library, which must say the
    same words.
    """
    ours = (SERVICE, BARE[engine])
    everything = (*ours, FASTKOKORO) if engine == KOKORO else ours
    for length in LENGTHS:
        if characters is not None and length.characters not in characters:
            continue
        decisive = length not in (BRIEF, LONG)
        adaptive = (ADAPTIVE,) if decisive and engine == KOKORO else ()
        # A process that has spoken a text remembers it, so these get other texts than the sides before.
        again = ((MP3,) if length is TWO_SENTENCES else ()) + ((CREATE,) if adaptive and not quick else ())
        if quick:
            sides, rounds, warm_up = everything if decisive else ours, 1 if length is LONG else 3, int(decisive)
        else:
            sides, rounds, warm_up = everything, 3 if length is LONG else 5, int(length is not LONG)
        yield Part(length, 1, (*sides, *adaptive), rounds, warm_up)
        if again:
            yield Part(length, 1, again, rounds, warm_up)
        if not quick:
            yield from (Part(length, clients, everything, 3, 0) for clients in CLIENTS[1:])
        elif length is TWO_SENTENCES:
            yield from (Part(length, clients, ours, 1, 0) for clients in CLIENTS[1:])


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
