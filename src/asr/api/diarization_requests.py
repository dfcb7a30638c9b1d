"""What requests for a diarization or for the vector of a voice may say, validated; see docs/api.md."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import Field

from asr.api.fields import Distance, Fields
from asr.api.schemas import ANY_CASE, MAX_SPEAKERS, Flag, Language, SpeakerCount
from asr.diarization.engine import DiarizeOptions
from core import errors
from utils.audio import wav

FORMATS: Final = {
    "json": "application/json",
    "verbose_json": "application/json",
    "rttm": "text/plain; charset=utf-8",
}
"""The response formats and their content types."""
_Seconds = Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)]


class EmbeddingRequest(Fields):
    """The fields of POST /v1/audio/speech/embedding, apart from the file."""

    model: str | None = Field(default=None, max_length=512)
    sample_rate: int | None = Field(default=None, ge=wav.MIN_RATE, le=wav.MAX_RATE)


class DiarizationRequest(EmbeddingRequest):
    """The fields of POST /v1/audio/diarization, apart from the file."""

    arrays: ClassVar[frozenset[str]] = frozenset({"known_speaker_names", "known_speaker_references"})
    long: ClassVar[frozenset[str]] = frozenset({"known_speaker_references"})

    response_format: Annotated[str, ANY_CASE] = "json"
    num_speakers: SpeakerCount = None
    min_speakers: SpeakerCount = None
    max_speakers: SpeakerCount = None
    clustering_threshold: Distance = None
    min_duration_on: _Seconds = 0.0
    min_duration_off: _Seconds = 0.0
    include_text: Flag = False
    language: Language = None
    known_speaker_names: tuple[Annotated[str, Field(max_length=200)], ...] = Field(default=(), max_length=MAX_SPEAKERS)
    known_speaker_references: tuple[str, ...] = Field(default=(), max_length=MAX_SPEAKERS)
    identify_speakers: Flag = False
    audio_track: int | None = Field(default=None, ge=0, le=31)

    def check(self) -> None:
        """Raise UnsupportedFormat for a format there is not, InvalidRequest for names without references."""
        if self.response_format not in FORMATS:
            raise errors.UnsupportedFormat(
                f"unknown response_format; use one of: {', '.join(FORMATS)}", param="response_format"
            )
        names, references = len(self.known_speaker_names), len(self.known_speaker_references)
        if names != references:
            raise errors.InvalidRequest(
                f"there are {names} known_speaker_names for {references} known_speaker_references; "
                "each name needs one reference",
                param="known_speaker_names" if names > references else "known_speaker_references",
            )

    @property
    def shows_text(self) -> bool:
        """Whether the answer has what is said; RTTM has no place for it."""
        return self.include_text and self.response_format != "rttm"

    @property
    def options(self) -> DiarizeOptions:
        """What the engine is told; that it makes sense is for Diarizer.check to say."""
        return DiarizeOptions(
            num_speakers=self.num_speakers,
            min_speakers=self.min_speakers,
            max_speakers=self.max_speakers,
            threshold=self.clustering_threshold,
            min_on=self.min_duration_on,
            min_off=self.min_duration_off,
        )
