"""From faster-whisper's segments to ours: which of them are speech, and where they lie in the original audio."""

from __future__ import annotations

from typing import Any

from asr.engines.faster_whisper_decoding import FasterWhisperOptions
from asr.transcript import Segment, Word, spread_words
from utils.audio.spans import Timeline

FRAMES_PER_SECOND = 100


def is_speech(segment: Any, options: FasterWhisperOptions) -> bool:
    """Tell what was said from what Whisper makes up over music and noise that the VAD let through.

    Whisper's own rule (no-speech probability above 0.6 and log-probability below -1) lets " Thank you." over an organ
    pass at -0.93. In 15 minutes of real recordings, noisy ones and words cut out one by one among them, no speech had
    a no-speech probability above 0.53, so above 0.6 more may be asked. Punctuation alone is no speech either.
    """
    if not any(character.isalnum() for character in segment.text):
        return False
    doubtful = options.no_speech_threshold is not None and segment.no_speech_prob > options.no_speech_threshold
    return not (doubtful and segment.avg_logprob < options.no_speech_log_prob)


def place(segment: Any, timeline: Timeline) -> Segment:
    """Return the segment with its times, and those of its words, moved to the original audio."""
    start, end = timeline.place(float(segment.start), float(segment.end))
    words: tuple[Word, ...] = ()
    if segment.words is not None:
        words = tuple(
            Word(word.word, *timeline.place_inside(float(word.start), float(word.end)), float(word.probability))
            for word in segment.words
        )
        if "".join(word.word for word in words) != segment.text:  # the alignment gave up on this text
            words = spread_words(segment.text, start, end)
        start, end = words[0].start, words[-1].end
    seek = segment.seek / FRAMES_PER_SECOND
    return Segment(
        start=start,
        end=end,
        text=segment.text,
        id=segment.id,
        seek=round(timeline.place_inside(seek, seek)[0] * FRAMES_PER_SECOND),
        tokens=tuple(segment.tokens),
        temperature=float(segment.temperature),
        avg_logprob=float(segment.avg_logprob),
        compression_ratio=float(segment.compression_ratio),
        no_speech_prob=float(segment.no_speech_prob),
        words=words,
    )
