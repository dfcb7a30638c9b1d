"""Speakers that a request brings recordings of: whose voice in a diarization is whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from asr.diarization import likeness
from asr.diarization.engine import Diarization, Vector
from core import errors
from core.model_entry import ModelRef
from utils.audio.pcm import PcmFile

if TYPE_CHECKING:
    from asr.diarization.service import Diarizer

PARAM: Final = "known_speaker_references"
_Costs = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVoice:
    """Somebody's voice: its vector, and the cosine distance within which another voice is taken for it."""

    name: str
    vector: tuple[float, ...]
    within: float


async def voices(
    diarizer: Diarizer, references: Sequence[tuple[str, PcmFile]], model: ModelRef
) -> tuple[KnownVoice, ...]:
    """Return the voices of named recordings, as a diarization by `model` can be compared with them.

    Raises InvalidAudio for a recording with too little speech, NotSupported for an engine without speaker embeddings,
    and what Diarizer.embed raises else.
    """
    found = []
    for index, (name, audio) in enumerate(references):
        try:
            voiceprint = await diarizer.embed(audio, model=model)
        except errors.InvalidAudio as error:
            raise errors.InvalidAudio(f"{PARAM}[{index}]: {error.message}", param=PARAM) from error
        vector = tuple(float(value) for value in voiceprint.vector)
        found.append(KnownVoice(name=name, vector=vector, within=voiceprint.facts.identify))
    return tuple(found)


def matched(embeddings: Mapping[int, Vector], known: Sequence[KnownVoice]) -> dict[int, str]:
    """Return the names of those speakers, by number, whose voices are known; nobody is two of them.

    `embeddings` has a vector of shape (size,) for each speaker. Of all ways to give the names the one whose voices are
    nearest in all is taken; of several recordings of one name the nearest counts.
    """
    numbers, names = sorted(embeddings), list(dict.fromkeys(voice.name for voice in known))
    if not numbers or not names:
        return {}
    # A column more for each name: it may be nobody's, at no cost.
    costs = np.zeros((len(names), len(numbers) + len(names)))
    for voice in known:
        row, vector = names.index(voice.name), np.asarray(voice.vector, dtype=np.float32)
        for column, number in enumerate(numbers):
            cost = likeness.distance(vector, embeddings[number]) - voice.within
            costs[row, column] = min(costs[row, column], cost)
    chosen = enumerate(_assignment(costs))
    return {numbers[column]: names[row] for row, column in chosen if costs[row, column] < 0}


async def named(
    diarizer: Diarizer, diarization: Diarization, references: Sequence[tuple[str, PcmFile]], model: ModelRef
) -> Mapping[int, str]:
    """Return the names of the speakers, by number, whose voices are those of named recordings.

    Raises what `voices` raises.
    """
    return matched(diarization.embeddings, await voices(diarizer, references, model))


def _assignment(costs: _Costs) -> list[int]:
    """Return a column for each row, no two the same, whose costs are least in all; there are enough columns.

    The Hungarian algorithm with shortest augmenting paths (Jonker and Volgenant 1987). SciPy's would bring that library
    into a process that has no other use for it.
    """
    rows, columns = costs.shape
    row_prices, column_prices = np.zeros(rows), np.zeros(columns)
    holders = np.full(columns, -1)
    for row in range(rows):
        least, before = np.full(columns, np.inf), np.full(columns, -1)
        seen = np.zeros(columns, dtype=bool)
        current, column = row, -1
        while current >= 0:
            reduced = costs[current] - row_prices[current] - column_prices
            better = ~seen & (reduced < least)
            least[better], before[better] = reduced[better], column
            column = int(np.argmin(np.where(seen, np.inf, least)))
            step = float(least[column])
            row_prices[row] += step
            row_prices[holders[seen]] += step
            column_prices[seen] -= step
            least[~seen] -= step
            seen[column] = True
            current = int(holders[column])
        while column >= 0:
            previous = int(before[column])
            holders[column] = row if previous < 0 else holders[previous]
            column = previous
    return [int(np.flatnonzero(holders == row)[0]) for row in range(rows)]
