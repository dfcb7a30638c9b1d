"""A finished transcription together with how its client wants it written; what asr.formats turns into bytes."""

from __future__ import annotations

from dataclasses import dataclass

from asr.transcript import Segment, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleLayout:
    """Subtitles laid out by word times: at most `max_line_count` lines of `max_line_width` characters per cue."""

    max_line_width: int = 42
    max_line_count: int = 2

    def __post_init__(self) -> None:
        if self.max_line_width < 1 or self.max_line_count < 1:
            raise ValueError("a subtitle needs at least one line of one character")


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptResult:
    """Everything a response format may want to say.

    `language` is a code, None when no speech was found; `duration` is in seconds. `words` says whether verbose formats
    list the words (`timestamp_granularities`), `logprobs` whether JSON lists those of the tokens. Without a `layout`
    every segment is one cue. `diarized` says whether it was found out who speaks, perhaps nobody.
    """

    segments: tuple[Segment, ...]
    duration: float
    task: Task = "transcribe"
    language: str | None = None
    language_probability: float = 0.0
    words: bool = False
    logprobs: bool = False
    layout: SubtitleLayout | None = None
    diarized: bool = False

    @property
    def text(self) -> str:
        """The whole text, without blanks around it."""
        return "".join(segment.text for segment in self.segments).strip()

    @property
    def text_language(self) -> str | None:
        """The code of the language that the text is in: a translation is English, whatever was spoken."""
        return "en" if self.task == "translate" and (self.language or self.segments) else self.language
