"""What is spoken: texts of equal length, another one every round, so that nothing a program remembers can help it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_BRIEF = (
    "The parcel came by train.",
    "Please close that window.",
    "The train leaves at nine.",
    "Your table is over there.",
    "We will meet you outside.",
    "Nobody answered the bell.",
)
_TWO_SENTENCES = (
    "Please take the second door on the left. The lift is out of order today, so use the stairs behind the counter.",
    "The bread is still warm from the oven this morning. Cut it slowly with a long knife, and put butter all on it.",
    "Your order left the warehouse early in the morning. It should be at your front door by the middle of the week.",
    "The storm moved out to sea during the night. Most of the roads are open again, but one bridge is not safe yet.",
    "She found the letter in a box under the stairs. It was dated in early spring, and nobody had ever answered it.",
    "Turn down the oven after twenty minutes. The cakes are ready when the top is golden and the middle feels firm.",
)
_ONE_SENTENCE = (
    "When the rain finally stopped, the children ran down to the river to see how high the brown water had got now.",
    "The librarian put the heavy books on the lower shelf so that even the smaller readers could reach all of them.",
    "If you want to see the stars tonight, walk up the hill behind the village before the moon is above the houses.",
    "The engineer checked every bolt on the bridge twice because the winter had been long and the ice had been bad.",
    "After the concert the musicians packed their instruments and drove through that night to the next little town.",
    "A tall man in a grey coat stood by the fountain and fed the birds with crumbs from a little brown bag at noon.",
)


@dataclass(frozen=True, slots=True)
class Length:
    """Texts of one length: its name in the tables, and the characters of each text."""

    name: str
    characters: int
    texts: Sequence[str]

    def rounds(self, clients: int) -> Iterator[tuple[str, ...]]:
        """Yield one text for each of the clients, round after round, without an end."""
        at = 0
        while True:
            yield tuple(self.texts[number % len(self.texts)] for number in range(at, at + clients))
            at += clients


def _long() -> Iterator[str]:
    paragraph = [sentence for pair in zip(_TWO_SENTENCES, _ONE_SENTENCE, strict=True) for sentence in pair]
    for first in range(0, len(paragraph), 2):
        yield " ".join([*paragraph, *paragraph][first : first + 9])


BRIEF = Length("25 characters", 25, _BRIEF)
TWO_SENTENCES = Length("110 characters, two sentences", 110, _TWO_SENTENCES)
ONE_SENTENCE = Length("110 characters, one sentence", 110, _ONE_SENTENCE)
LONG = Length("1000 characters", 1000, tuple(_long()))
LENGTHS = (BRIEF, TWO_SENTENCES, ONE_SENTENCE, LONG)
