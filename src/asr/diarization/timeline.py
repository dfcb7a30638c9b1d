"""From what is heard in each window to the turns of the speakers of the whole recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from asr.diarization.engine import Turn
from utils.audio.spans import Span

Activity = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Grid:
    """Frames of a model: the middle of frame n is at `first` + n * `step` seconds."""

    first: float
    step: float

    def frame(self, seconds: float) -> int:
        """Return the frame whose middle is nearest."""
        return round((seconds - self.first) / self.step)

    def middle(self, frame: int) -> float:
        """Return the second of the middle of a frame: what it says becomes true there."""
        return self.first + frame * self.step


def turns(active: Activity, grid: Grid, *, duration: float) -> list[Turn]:
    """Return the turns of an activity of shape (frames, speakers), ordered by time."""
    padded = np.zeros((active.shape[0] + 2, active.shape[1]), dtype=np.int8)
    padded[1:-1] = active
    steps = np.diff(padded, axis=0)
    found = []
    for speaker in range(active.shape[1]):
        starts, ends = np.flatnonzero(steps[:, speaker] == 1), np.flatnonzero(steps[:, speaker] == -1)
        found += [
            Turn(grid.middle(start), min(grid.middle(end), duration), speaker)
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
    return sorted(turn for turn in found if turn.end > turn.start)


def strongest(strength: npt.NDArray[np.floating], count: npt.NDArray[np.integer]) -> Activity:
    """Return which speakers talk: in each frame the `count` strongest that are heard at all.

    `strength` has shape (frames, speakers), `count` (frames,).
    """
    order = np.argsort(-strength, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(strength.shape[1])[None], axis=1)
    active: Activity = (rank < count[:, None]) & (strength > 0)
    return active


def cleaned(found: Iterable[Turn], *, min_on: float, min_off: float) -> list[Turn]:
    """Return turns with pauses of a speaker up to `min_off` seconds closed, and those shorter than `min_on` dropped."""
    last: dict[int, Turn] = {}
    done = []
    for turn in sorted(found):
        before = last.get(turn.speaker)
        if before is not None and turn.start - before.end <= min_off:
            last[turn.speaker] = replace(before, end=max(before.end, turn.end))
            continue
        if before is not None:
            done.append(before)
        last[turn.speaker] = turn
    return sorted(turn for turn in [*done, *last.values()] if turn.end - turn.start >= min_on)


def cleaned_exclusive(found: Iterable[Turn], *, min_on: float, min_off: float) -> list[Turn]:
    """As `cleaned`, for turns that do not overlap, and still do not: a pause in which somebody else talks stays."""
    kept = [turn for turn in _joined(sorted(found), min_off) if turn.end - turn.start >= min_on]
    return _joined(kept, min_off)  # where somebody talked too shortly, there is a pause now


def _joined(found: Iterable[Turn], min_off: float) -> list[Turn]:
    """Return turns, those of a speaker as one where nothing but a pause up to `min_off` seconds is between them."""
    done: list[Turn] = []
    for turn in found:
        if done and done[-1].speaker == turn.speaker and turn.start - done[-1].end <= min_off:
            done[-1] = replace(done[-1], end=turn.end)
        else:
            done.append(turn)
    return done


def touched(found: Iterable[Turn], speech: Sequence[Span]) -> list[Turn]:
    """Return the turns in which there is speech; both are ordered by time."""
    kept = []
    at = 0
    for turn in found:
        while at < len(speech) and speech[at].end <= turn.start:
            at += 1
        if any(span.start < turn.end and span.end > turn.start for span in speech[at : at + 1]):
            kept.append(turn)
    return kept


def numbered(found: Sequence[Turn]) -> tuple[list[Turn], dict[int, int]]:
    """Return turns with their speakers numbered in the order in which they first talk, and the new number of each."""
    numbers: dict[int, int] = {}
    for turn in found:
        numbers.setdefault(turn.speaker, len(numbers))
    return [replace(turn, speaker=numbers[turn.speaker]) for turn in found], numbers
