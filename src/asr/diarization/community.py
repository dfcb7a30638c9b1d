"""The steps of pyannote's community-1 pipeline, over models that are called through two functions; numpy and scipy.

Bredin et al., https://huggingface.co/pyannote/speaker-diarization-community-1: who speaks among up to three voices in
windows of ten seconds, a vector for each voice, speakers out of these vectors, and the windows put together again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asr.diarization.clustering import NOBODY, Labels
from asr.diarization.engine import SAMPLE_RATE, Recording, Vector
from asr.diarization.likeness import unit
from asr.diarization.stats import FRAME_SECONDS, FrameBuffer, Frames, Projection
from asr.diarization.timeline import Activity, Grid, strongest

WINDOW_SECONDS = 10.0
WINDOW = round(WINDOW_SECONDS * SAMPLE_RATE)
FRAMES, VOICES = 589, 3
GRID = Grid(first=0.0619375 / 2, step=0.016875)
"""Frames of the segmentation model: the width of what it sees, and from one to the next."""
CLEAN_SHARE = 0.2
"""A voice counts when speakers are sought if it is alone for this share of its window."""
_LEAST_FRAMES = 3  # of the encoder, 0.24 s: with fewer alone, a vector is made of all that the voice says
_MOMENT_SECONDS, _MOMENT_STEP = 1.5, 0.5
_MOMENT_FRAMES = 6  # of the encoder, 0.48 s in which one voice is alone
_MOMENT_WEIGHT = 4.0  # what a whole difference in cosine similarity counts against the votes of all windows
_DECIDED = 1 << 15  # frames that are decided at once, 9 minutes: memory is that of a few numbers per speaker of each
_MOMENT_REACH = 1.0  # seconds around its middle of which a moment tells


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard in the windows of a recording, `step` seconds apart.

    `active` has shape (windows, frames, VOICES), `embeddings` (windows, VOICES, size) with NaN where there is none.
    `moments` are the middles, in seconds, of short windows in which one voice is alone, `sounds` (moments, size) their
    vectors: less certain than those of long windows, and nearer to the place.
    """

    step: float
    active: Activity
    embeddings: Vector
    moments: npt.NDArray[np.float64]
    sounds: Vector

    @property
    def speaks(self) -> npt.NDArray[np.bool_]:
        """Which voices say anything and have a vector, shape (windows, VOICES)."""
        found: npt.NDArray[np.bool_] = self.active.any(axis=1) & np.isfinite(self.embeddings[..., 0])
        return found

    @property
    def clean(self) -> npt.NDArray[np.bool_]:
        """Which voices are alone for long enough to tell who they are, shape (windows, VOICES)."""
        share = alone(self.active).sum(axis=1) / self.active.shape[1]
        found: npt.NDArray[np.bool_] = (share >= CLEAN_SHARE) & self.speaks
        return found


def starts(length: int, step: float) -> range:
    """Return the first samples of the windows of a recording; the last window may reach beyond its end."""
    step_samples = round(step * SAMPLE_RATE)
    count = 1 + max(0, -(-(length - WINDOW) // step_samples))
    return range(0, count * step_samples, step_samples)


def listen(
    recording: Recording,
    segment: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
    frames: Iterator[Frames],
    project: Projection,
    *,
    step: float,
    batch: int,
    progress: Callable[[float], None],
) -> Heard:
    """Listen to all windows of a recording.

    `segment` tells which voices speak in windows, shape (windows, 1, WINDOW) to (windows, frames, VOICES). `frames`
    are those of asr.diarization.stats.encoded; no more than those of a window and a block are kept.
    """
    places = starts(recording.length, step)
    active, embeddings, moments, sounds = [], [], [], []
    length = recording.length / SAMPLE_RATE
    buffer = FrameBuffer(frames)
    for first in range(0, len(places), batch):
        some = places[first : first + batch]
        windows = np.stack([recording.read(start, start + WINDOW) for start in some])[:, None]
        for start, voices in zip(some, segment(windows) > 0.5, strict=True):  # noqa: PLR2004 - half
            seconds = start / SAMPLE_RATE
            found = buffer.between(seconds, min(seconds + WINDOW_SECONDS, length))
            active.append(voices)
            embeddings.append(_embedded(voices, found, project))
            own = _own_part(start, places, step=step)
            for middle, sound in _moments(voices, found, project, own):
                moments.append(seconds + middle)
                sounds.append(sound)
        progress(some[-1] / max(recording.length, 1))
    return Heard(
        step,
        np.stack(active),
        np.stack(embeddings),
        np.array(moments),
        np.stack(sounds) if sounds else np.zeros((0, len(project.bias)), dtype=np.float32),
    )


def _own_part(start: int, places: range, *, step: float) -> tuple[float, float]:
    """Return the part of a window, in seconds, of which no other window knows more: the middle, or up to an end."""
    middle = WINDOW_SECONDS / 2
    first = 0.0 if start == places[0] else middle - step / 2
    last = WINDOW_SECONDS if start == places[-1] else middle + step / 2
    return first, last


def _moments(
    voices: Activity, frames: Frames, project: Projection, own: tuple[float, float]
) -> Iterator[tuple[float, Vector]]:
    """Yield the middles of short windows in the own part of a window, and their vectors."""
    single = _nearest(alone(voices), len(frames)).sum(axis=1, dtype=np.float32)
    half = round(_MOMENT_SECONDS / 2 / FRAME_SECONDS)
    for middle in np.arange(own[0] + _MOMENT_STEP / 2, own[1], _MOMENT_STEP).tolist():
        place = round(middle / FRAME_SECONDS)
        part = slice(max(place - half, 0), place + half)
        if single[part].sum() >= _MOMENT_FRAMES:
            yield middle, project(frames[part], single[None, part])[0]


def alone(active: Activity) -> Activity:
    """Return where each voice talks and no other does; the voices are the last axis."""
    found: Activity = active & (active.sum(axis=-1, keepdims=True) == 1)
    return found


def _embedded(voices: Activity, frames: Frames, project: Projection) -> Vector:
    """Return the vectors of the voices of a window, (VOICES, size), made where each is alone, if that is enough."""
    size = len(project.bias)
    if not len(frames):
        return np.full((VOICES, size), np.nan, dtype=np.float32)
    clean, whole = _nearest(alone(voices), len(frames)).T, _nearest(voices, len(frames)).T
    enough = clean.sum(axis=1, keepdims=True) >= _LEAST_FRAMES
    return project(frames, np.where(enough, clean, whole).astype(np.float32))


def _nearest(active: Activity, count: int) -> Activity:
    """Return the activity in the frames of the segmentation that are nearest to `count` frames of the encoder."""
    places = ((np.arange(count) + 0.5) * FRAME_SECONDS - GRID.first) / GRID.step
    found: Activity = active[np.clip(np.rint(places).astype(int), 0, len(active) - 1)]
    return found


def together(
    heard: Heard, labels: Labels, centroids: npt.NDArray[np.float64], frames: int
) -> tuple[Activity, Activity]:
    """Return who speaks in each frame of the recording, and who does when one at most may; (frames, speakers) each.

    In a frame as many speak as its windows say on average; those that most of them say do. Where one speaks alone, the
    sound of the moment counts besides: in noise, windows of ten seconds with several voices are taken for each other.
    Somebody does then, even where no window knows who.
    """
    windows, per_window, _ = heard.active.shape
    strength = np.zeros((frames + per_window, len(centroids)), dtype=np.float32)
    count, seen = np.zeros(len(strength), dtype=np.float32), np.zeros(len(strength), dtype=np.float32)
    for window in range(windows):
        start = round(window * heard.step / GRID.step)
        part = slice(start, start + per_window)
        active = heard.active[window]
        count[part] += active.sum(axis=1)
        seen[part] += 1
        for speaker in set(labels[window].tolist()) - {NOBODY}:
            strength[part, speaker] += active[:, labels[window] == speaker].any(axis=1)
    seen = np.maximum(seen, 1)
    many = np.rint(count / seen).astype(np.int64)
    alike = unit(heard.sounds) @ unit(centroids).T
    alike -= alike.mean(axis=1, keepdims=True)
    every, single = np.zeros((2, frames, len(centroids)), dtype=np.bool_)
    for first in range(0, frames, _DECIDED):
        part = slice(first, min(first + _DECIDED, frames))
        strong = strength[part] / seen[part, None]
        alone = np.flatnonzero(many[part] == 1)
        strong[alone] = 1 + strong[alone] + _MOMENT_WEIGHT * _resemblance(heard.moments, alike, first + alone)
        every[part] = strongest(strong, many[part])
        single[part] = strongest(strong, np.minimum(many[part], 1))
    return every, single


def _resemblance(
    moments: npt.NDArray[np.float64], alike: npt.NDArray[np.float64], frames: npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    """Return how much more each speaker's voice resembles the moments around some frames than the average one's.

    `alike` is that of each moment, shape (moments, speakers). The result has shape (frames, speakers), from -1 to 1; 0
    where there is no moment near.
    """
    found = np.zeros((len(frames), alike.shape[1]))
    if not len(moments):
        return found
    seconds = GRID.first + frames * GRID.step
    for speaker, likeness in enumerate(alike.T):
        found[:, speaker] = np.interp(seconds, moments, likeness)
    after = np.clip(np.searchsorted(moments, seconds), 0, len(moments) - 1)
    before = np.maximum(after - 1, 0)
    away = np.minimum(abs(moments[after] - seconds), abs(moments[before] - seconds))
    found[away > _MOMENT_REACH] = 0
    return found


def vectors(heard: Heard, *, least: int = 1) -> npt.NDArray[np.float64]:
    """Return the vectors out of which speakers are found, (count, size): of clean voices, or of all.

    All count where fewer than `least` are clean: so many speakers are asked for.
    """
    which = heard.clean if heard.clean.sum() >= least else heard.speaks
    return heard.embeddings[which].astype(np.float64)
