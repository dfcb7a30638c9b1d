"""Who said which words: segments of a transcript take their speakers from the turns of a diarization."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from asr.diarization.engine import Turn
from asr.transcript import Segment, Word

REACH_SECONDS = 0.5
"""A word that lies in no turn is said by who talks within so many seconds of it."""


class Speakers:
    """Tells who talks between two times; made of turns that do not overlap, in order."""

    def __init__(self, exclusive: Sequence[Turn], names: Sequence[str]) -> None:
        self._turns = list(exclusive)
        self._ends = [turn.end for turn in self._turns]
        self._names = names

    def between(self, start: float, end: float) -> str | None:
        """Return the name of who talks most of the time, else of the nearest; None where nobody is near."""
        best: tuple[float, float] | None = None
        found: int | None = None
        for place in range(bisect_left(self._ends, start - REACH_SECONDS), len(self._turns)):
            turn = self._turns[place]
            if turn.start > end + REACH_SECONDS:
                break
            shared = min(turn.end, end) - max(turn.start, start)
            rank = (max(shared, 0.0), min(shared, 0.0))
            if best is None or rank > best:
                best, found = rank, turn.speaker
        return None if found is None else self._names[found]


def attributed(segments: Iterable[Segment], speakers: Speakers) -> Iterator[Segment]:
    """Yield segments with their speakers, one that has words cut where the speaker changes; ids count from 0.

    A cut segment's tokens and log-probabilities stay with its first part: they are not told apart by words.
    """
    count = 0
    for segment in segments:
        for part in _parts(segment, speakers):
            yield replace(part, id=count)
            count += 1


def _parts(segment: Segment, speakers: Speakers) -> Iterator[Segment]:
    if not segment.words:
        yield replace(segment, speaker=speakers.between(segment.start, segment.end))
        return
    said = [(speakers.between(word.start, word.end), word) for word in segment.words]
    runs = [
        (speaker, tuple(replace(word, speaker=speaker) for _, word in run))
        for speaker, run in groupby(_carried(said), key=lambda one: one[0])
    ]
    first = True
    for speaker, words in runs:
        part = replace(segment, speaker=speaker, words=words)
        if len(runs) > 1:
            start, end = words[0].start, words[-1].end
            part = replace(part, start=start, end=end, text="".join(word.word for word in words))
            if not first:
                part = replace(part, tokens=(), logprobs=())
        first = False
        yield part


def _carried(said: Sequence[tuple[str | None, Word]]) -> Iterator[tuple[str | None, Word]]:
    """Yield words with speakers; one that nobody says goes with the word before it, or with the first that has one."""
    last = next((speaker for speaker, _ in said if speaker is not None), None)
    for speaker, word in said:
        last = last if speaker is None else speaker
        yield last, word
