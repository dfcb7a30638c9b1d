"""Text to whistled letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from voice_stack import Audio, InvalidRequest, SpeechOptions, TtsEngine, UnsupportedParameter, Voice

from whistle.alphabet import BASES, LETTER_GAP, LETTERS, RATE, TONE, WORD_GAP, pitch

LOUDNESS = 0.5
FADE_SECONDS = 0.004


class Whistler(TtsEngine):
    """Whistles letters and digits and nothing else, one chunk per word."""

    sample_rate = RATE
    speed_range = (0.5, 2.0)
    languages = ("en",)
    licence = "MIT"

    @classmethod
    def list_voices(cls, model: Path) -> Sequence[Voice]:
        """Return both whistlers, whatever the folder."""
        del model
        return [Voice(id=name, name=name, language="en") for name in BASES]

    def voices(self) -> Sequence[Voice]:
        """Return both whistlers."""
        return self.list_voices(Path())

    def load(self) -> None:
        """There is nothing to load."""

    def check(self, text: str, voice: Voice, options: SpeechOptions) -> None:
        """Refuse a text without anything that can be whistled, before the answer has begun."""
        del voice, options
        if text.strip() and not any(letter in LETTERS for letter in text.lower()):
            raise InvalidRequest("only a to z and digits can be whistled", param="input")

    def synthesize(self, text: str, voice: Voice, options: SpeechOptions) -> Iterator[Audio]:
        """Whistle one piece of text. Raises InvalidRequest, UnsupportedParameter."""
        if voice.id not in BASES:
            raise InvalidRequest("there are two whistlers, low and high", param="voice")
        for name in ("seed", "temperature", "instructions"):
            if getattr(options, name) is not None:
                raise UnsupportedParameter(f"whistle has no {name}", param=name)
        if options.language not in {None, "en"}:
            raise UnsupportedParameter("whistle is English", param="language")
        for word in text.lower().split():
            if letters := [letter for letter in word if letter in LETTERS]:
                yield Audio(_whistled(letters, voice.id, options.speed), RATE)


def _whistled(letters: Sequence[str], whistler: str, speed: float) -> np.ndarray:
    tone, gap, pause = (round(seconds / speed * RATE) for seconds in (TONE, LETTER_GAP, WORD_GAP - LETTER_GAP))
    rise = np.minimum(np.arange(tone) / (FADE_SECONDS * RATE), 1.0)
    loudness = LOUDNESS * np.minimum(rise, rise[::-1])
    parts = []
    for letter in letters:
        parts += [loudness * np.sin(2 * np.pi * pitch(letter, whistler) * np.arange(tone) / RATE), np.zeros(gap)]
    return np.concatenate([*parts, np.zeros(pause)]).astype(np.float32)
