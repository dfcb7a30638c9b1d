"""Who says what in a transcript: what a request asks about its speakers, what is found, and segments with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from asr.diarization.engine import DiarizeOptions, Turn, Vector
from asr.diarization.known import KnownVoice, matched
from asr.diarization.names import labels, letters
from asr.diarization.word_speakers import Speakers, attributed
from asr.formats import FORMATS
from asr.transcript import Segment
from core.model_entry import ModelRef
from utils.audio.pcm import PcmFile

if TYPE_CHECKING:
    from asr.service import AsrService


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakersAsked:
    """What a request wants to know of its speakers, by the diarization model with the id `model`.

    Those of the voices in `known` get their names, and with `identify` those of registered people. The model hears
    `channels` of a recording, None for all that it has.
    """

    model: str
    channels: int | None = 1
    options: DiarizeOptions = field(default_factory=DiarizeOptions)
    known: tuple[KnownVoice, ...] = ()
    identify: bool = False


class Naming(NamedTuple):
    """How speakers are called whose names are not known.

    With `everywhere` a word that nobody is near to is said by whoever spoke last, where answers must name somebody.
    """

    labels: Callable[[int, Mapping[int, str]], tuple[str, ...]]
    everywhere: bool


LABELS = Naming(labels, everywhere=False)
LETTERS = Naming(letters, everywhere=True)


def naming(response_format: str) -> Naming:
    """Return how speakers are called in a format."""
    return LETTERS if FORMATS[response_format].needs_speakers else LABELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Who speaks when: turns of which none overlap, in order of time.

    `names` are those of speakers who are known, `embeddings` the vectors of their voices, both by number.
    """

    turns: tuple[Turn, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    embeddings: Mapping[int, tuple[float, ...]] = field(default_factory=dict)

    def labels(self, naming: Naming) -> tuple[str, ...]:
        """Return what every speaker is called, by number."""
        numbers = [*(turn.speaker for turn in self.turns), *self.names, *self.embeddings]
        return naming.labels(max(numbers, default=-1) + 1, self.names)

    def applied(self, segments: Iterable[Segment], naming: Naming) -> tuple[Segment, ...]:
        """Return all segments of a transcript with their speakers, cut where these change."""
        attributor = Attributor(self, naming)
        return tuple(part for segment in segments for part in attributor.parts(segment))


class Attributor:
    """Gives the segments of a transcript their speakers, one after the other."""

    def __init__(self, found: Attribution, naming: Naming) -> None:
        self._names = found.labels(naming) or naming.labels(1, {})
        self._speakers = Speakers(found.turns)
        self._everywhere = naming.everywhere
        self._last = found.turns[0].speaker if found.turns else 0
        self._count = 0

    def parts(self, segment: Segment) -> Iterator[Segment]:
        """Yield what the next segment becomes; ids go on from those before."""
        for number, part in attributed(segment, self._who):
            yield replace(part, id=self._count, speaker=None if number is None else self._names[number])
            self._count += 1

    def _who(self, start: float, end: float) -> int | None:
        number = self._speakers.between(start, end)
        if not self._everywhere:
            return number
        self._last = self._last if number is None else number
        return self._last


async def attribution(
    service: AsrService,
    audio: PcmFile,
    asked: SpeakersAsked,
    *,
    sha256: str = "",
    wait: bool = False,
    timeout: float | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Attribution:
    """Tell who speaks when in a recording.

    Raises what Diarizer.diarize raises, which also has `sha256`, `wait`, `timeout` and `on_progress`, and with
    `identify` what People.names raises.
    """
    diarizer = service.diarizer
    model = diarizer.resolve(asked.model)
    found = await diarizer.diarize(
        audio, asked.options, model=model, sha256=sha256, wait=wait, timeout=timeout, on_progress=on_progress
    )
    return Attribution(
        turns=found.exclusive,
        names=await names_of(service, found.embeddings, asked.known, model=model, identify=asked.identify),
        embeddings={number: tuple(vector.tolist()) for number, vector in found.embeddings.items()},
    )


async def names_of(
    service: AsrService,
    embeddings: Mapping[int, Vector],
    known: Sequence[KnownVoice],
    *,
    model: ModelRef,
    identify: bool,
) -> Mapping[int, str]:
    """Return the names of those speakers of a diarization, by number, who are known; no two have the same.

    With `identify` those of registered people, and before them those of the voices in `known`. Raises what People.names
    and Diarizer.facts raise.
    """
    named = matched(embeddings, known)
    if not identify or not embeddings:
        return named
    registered = await service.people.run(service.people.names, embeddings, await service.diarizer.facts(model))
    return {number: name for number, name in registered.items() if name not in named.values()} | named
