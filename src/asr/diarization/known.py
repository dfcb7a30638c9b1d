"""Speakers that a request brings recordings of: whose voice in a diarization is whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from asr.diarization import likeness
from asr.diarization.engine import Vector
from core import errors
from core.model_entry import ModelRef
from utils.audio.pcm import PcmFile

if TYPE_CHECKING:
    from asr.diarization.service import Diarizer

PARAM: Final = "known_speaker_references"


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

    `embeddings` has a vector of shape (size,) for each speaker. The nearest voices find each other first; of several
    recordings of one name the nearest counts.
    """
    near = []
    for voice in known:
        vector = np.asarray(voice.vector, dtype=np.float32)
        for number, embedding in embeddings.items():
            # How near for what the voice allows: encoders differ in that.
            spare = voice.within - likeness.distance(vector, embedding)
            near.append((-spare, number, voice.name))
    found: dict[int, str] = {}
    for order, number, name in sorted(near):
        if order < 0 and number not in found and name not in found.values():
            found[number] = name
    return found
