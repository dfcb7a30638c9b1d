"""A diarization as the answer of POST /v1/audio/diarization."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from asr.diarization.engine import Diarization, Turn
from asr.diarization.names import labels
from asr.diarization.word_speakers import Speakers
from asr.transcript import Segment


def shown_names(diarization: Diarization, known: Mapping[int, str]) -> tuple[str, ...]:
    """Return what every speaker is called, by number: the name of who is `known`, else SPEAKER_00 and so on."""
    turns = (*diarization.turns, *diarization.exclusive)
    return labels(max((turn.speaker for turn in turns), default=-1) + 1, known)


def diarization_object(
    diarization: Diarization,
    *,
    duration: float,
    names: Sequence[str],
    texts: Sequence[str] | None = None,
    verbose: bool = False,
) -> dict[str, Any]:
    """Return LocalAI's object, which has what speaches' has; `verbose` adds who they are and how much each one speaks.

    `duration` is the recording's in seconds, `names` are the speakers' by number, `texts` what is said in each turn.
    """
    answer = {
        "task": "diarize",
        "duration": round(duration, 3),
        "num_speakers": len(diarization.speakers),
        "segments": [
            _segment(index, turn, names[turn.speaker]) | ({"text": texts[index]} if texts is not None else {})
            for index, turn in enumerate(diarization.turns)
        ],
    }
    return answer | ({"speakers": _speakers(diarization, names)} if verbose else {})


def turn_texts(diarization: Diarization, segments: Iterable[Segment]) -> list[str]:
    """Return what is said in each turn: a word is in the nearest turn of who says it, one that nobody says in none.

    Who says it is decided by the exclusive timeline, as in a transcript with speakers.
    """
    said: dict[int, list[str]] = defaultdict(list)
    places = {speaker: _Places(turns) for speaker, turns in _by_speaker(diarization.turns).items()}
    speakers = Speakers(diarization.exclusive)
    for segment in segments:
        words = [(word.start, word.end, word.word) for word in segment.words]
        for start, end, text in words or [(segment.start, segment.end, segment.text)]:
            speaker = speakers.between(start, end)
            if speaker in places:
                said[places[speaker].nearest((start + end) / 2)].append(text)
    return ["".join(said[index]).strip() for index in range(len(diarization.turns))]


class _Places:
    """The turns of one speaker, apart and in order, with their places among all."""

    def __init__(self, turns: Sequence[tuple[int, Turn]]) -> None:
        self._turns = turns
        self._starts = [turn.start for _, turn in turns]

    def nearest(self, seconds: float) -> int:
        """Return the place of the turn in which a moment lies, or to which it is nearest."""
        after = bisect_right(self._starts, seconds)
        around = self._turns[max(after - 1, 0) : after + 1]
        place, _ = min(around, key=lambda one: max(one[1].start - seconds, seconds - one[1].end, 0.0))
        return place


def _by_speaker(turns: Sequence[Turn]) -> dict[int, list[tuple[int, Turn]]]:
    ordered = sorted(enumerate(turns), key=lambda one: (one[1].speaker, one[1].start))
    return {speaker: list(own) for speaker, own in groupby(ordered, key=lambda one: one[1].speaker)}


def _segment(index: int, turn: Turn, name: str) -> dict[str, Any]:
    return {
        "id": index,
        "speaker": name,
        "label": str(turn.speaker),
        "start": round(turn.start, 3),
        "end": round(turn.end, 3),
    }


def _speakers(diarization: Diarization, names: Sequence[str]) -> list[dict[str, Any]]:
    own = _by_speaker(diarization.turns)
    return [
        {
            "id": names[number],
            "label": str(number),
            "total_speech_duration": round(sum(turn.end - turn.start for _, turn in own[number]), 3),
            "segment_count": len(own[number]),
        }
        for number in diarization.speakers
    ]
