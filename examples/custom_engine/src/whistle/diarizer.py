"""Who whistles when."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from voice_stack import Capabilities, Diarization, DiarizationEngine, DiarizeOptions, Recording, Turn

from whistle.alphabet import RATE, Tone, tones

BLOCK = 60 * RATE
BREATH_SECONDS = 1.0
"""Whoever goes on after so short a pause has not stopped."""
THRESHOLD = 0.05


class WhistlerFinder(DiarizationEngine):
    """Tells the two whistlers by their pitch; one whistles at a time."""

    licence = "MIT"
    capabilities = Capabilities(max_speakers=2, hints=False, threshold=False)

    def load(self) -> None:
        """There is nothing to load."""

    def diarize(
        self, recording: Recording, options: DiarizeOptions, *, progress: Callable[[float], None]
    ) -> Diarization:
        """Return the turns; whoever whistles first is speaker 0."""
        found: list[Tone] = []
        for start in range(0, recording.length, BLOCK):
            stop = min(start + BLOCK, recording.length)
            found += tones(recording.read(start, stop), THRESHOLD, start / RATE)
            progress(stop / recording.length)
        turns = _turns(found, options)
        return Diarization(turns=turns, exclusive=turns)


def _turns(found: Iterable[Tone], options: DiarizeOptions) -> tuple[Turn, ...]:
    """Close pauses, drop turns that are too short, then number the whistlers as they begin."""
    joined: list[tuple[str, float, float]] = []
    for tone in found:
        if joined and joined[-1][0] == tone.whistler and tone.start - joined[-1][2] <= _breath(options):
            joined[-1] = (tone.whistler, joined[-1][1], tone.end)
        else:
            joined.append((tone.whistler, tone.start, tone.end))
    kept = [turn for turn in joined if turn[2] - turn[1] >= options.min_on]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(name for name, _, _ in kept))}
    return tuple(Turn(start, end, numbers[name]) for name, start, end in kept)


def _breath(options: DiarizeOptions) -> float:
    return max(BREATH_SECONDS, options.min_off)
