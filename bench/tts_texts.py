"""What is spoken: made-up texts of equal length, none of them twice, so that nothing a program remembers helps it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice


def _words(text: str) -> list[str]:
    return text.split()


_SEED = 110
_PEOPLE = _words("""
actor baker boxer captain carpenter cook dancer dentist doctor driver farmer fireman gardener hunter judge lawyer
mayor miller miner neighbor nurse painter pilot plumber porter sailor singer soldier student tailor teacher waiter
""")
_DID = _words("""
borrowed bought carried cleaned counted covered described dropped fixed found grabbed hid lifted lost moved noticed
opened ordered packed painted placed rented repaired returned sold stored tested took touched used wanted washed
""")
_THINGS = _words("""
basket bell bicycle blanket bottle box bucket camera candle carpet chair clock coat cup curtain drum engine guitar
hammer jacket key ladder lamp letter magazine mirror notebook painting pillow radio rope saddle suitcase table tent
ticket umbrella wagon
""")
_LOOKS = _words("""
blue broken cheap clean dark empty green heavy large little narrow new old plain purple red round rusty shiny simple
small soft strange white wooden yellow
""")
_WHERE = _words("""
airport bakery bank barn beach bridge castle church factory farm forest fountain garden garage hospital hotel kitchen
library market museum office park river school stadium station theater tower village
""")
_AT = ("near", "behind", "beside", "outside")
_BEGINS = ("When", "After", "Before", "Because", "Although", "While", "Once")
_TIMES = ("today", "at noon", "last week", "in the evening", "on Sunday", "before breakfast", "during the winter")
_FIRST_WORDS = 4


@dataclass(frozen=True, slots=True)
class Length:
    """Texts of one length: its name in the tables, the characters of each text, its sentences, and how many there are.

    A sentence is "brief" (a few words), "plain" (one clause) or "long" (two).
    """

    name: str
    characters: int
    sentences: tuple[str, ...]
    count: int = 36

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts, always the same ones."""
        return _all_texts()[self]


BRIEF = Length("25 characters", 25, ("brief",))
TWO_SENTENCES = Length("110 characters, two sentences", 110, ("plain", "plain"))
ONE_SENTENCE = Length("110 characters, one sentence", 110, ("long",))
LONG = Length("1000 characters", 1000, (*("plain", "long") * 6, "plain"), 24)
LENGTHS = (BRIEF, TWO_SENTENCES, ONE_SENTENCE, LONG)


class Supply:
    """The texts that one process has not spoken yet."""

    def __init__(self) -> None:
        self._left = {length: iter(length.texts) for length in LENGTHS}

    def take(self, length: Length, *, clients: int, rounds: int) -> list[tuple[str, ...]]:
        """Take one text for each of the clients, for so many rounds; ValueError when there are not as many left."""
        found = [tuple(islice(self._left[length], clients)) for _ in range(rounds)]
        if any(len(one) < clients for one in found):
            raise ValueError(f"there are only {length.count} texts of {length.name}")
        return found


@cache
def _all_texts() -> dict[Length, tuple[str, ...]]:
    """Return the texts of every length, no two sentences beginning with the same words: those are spoken first."""
    chance = random.Random(_SEED)
    begun: set[tuple[str, ...]] = set()

    def texts(length: Length) -> Iterator[str]:
        while True:
            sentences = [_sentence(kind, chance) for kind in length.sentences]
            begins = {tuple(sentence.split()[:_FIRST_WORDS]) for sentence in sentences}
            fits = len(text := " ".join(sentences)) == length.characters
            if fits and len(begins) == len(sentences) and not begins & begun:
                begun.update(begins)
                yield text

    return {length: tuple(islice(texts(length), length.count)) for length in LENGTHS}


def _sentence(kind: str, chance: random.Random) -> str:
    choose = chance.choice

    def deed(look: str = "") -> str:
        return f"{choose(_PEOPLE)} {choose(_DID)} the {look}{choose(_THINGS)}"

    if kind == "brief":
        return f"The {deed()}."
    where = f"{choose(_AT)} the {choose(_WHERE)}"
    looking = deed(f"{choose(_LOOKS)} ")
    if kind == "plain":
        return f"The {looking} {where}."
    return f"{choose(_BEGINS)} the {deed()} {where}, the {looking} {choose(_TIMES)}."
