"""Whether what our service speaks can be understood as well, and is as long, as what the bare library makes of it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import httpx
import soundfile

from bench import services
from bench.plan import ASR_MODEL, LANGUAGE, Plan
from bench.tts_cells import BARE, SERVICE, Cell
from bench.tts_sides import Spoken
from bench.tts_texts import LENGTHS
from bench.words import WordErrors
from utils.text.wer import edits, words

WORSE_POINTS, WORSE_WORDS = 3.0, 4
"""So much may ours be worse; of few words the number counts."""
MOST_WRONG_PERCENT = 20.0
OTHER_LENGTH = 0.15
Pair = tuple[Cell, Cell]


def understood(cells: Sequence[Cell], plan: Plan, client: httpx.Client) -> list[Cell]:
    """Return the cells, those with audio with the words that our ASR does not understand of all their answers."""
    with services.running("asr", {"ASR_MODEL": ASR_MODEL, "ASR_DEVICE": plan.device}) as service:
        return [
            replace(cell, words=sum((_errors(client, service.url, one) for one in cell.answers), WordErrors(0, 0)))
            if cell.is_audio
            else cell
            for cell in cells
        ]


def _errors(client: httpx.Client, url: str, spoken: Spoken) -> WordErrors:
    file = io.BytesIO()
    soundfile.write(file, spoken.samples, spoken.rate, format="WAV", subtype="PCM_16")
    files = {"file": ("speech.wav", file.getvalue())}
    answer = client.post(f"{url}/v1/audio/transcriptions", files=files, data={"language": LANGUAGE})
    answer.raise_for_status()
    said = words(spoken.text)
    return WordErrors(edits(said, words(str(answer.json()["text"]))), len(said))


def failures(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield what is wrong with the words of our service: each cell is compared with that of the bare library."""
    found = {(cell.engine, cell.side, cell.length, cell.clients): cell for cell in cells}
    pairs: list[Pair] = []
    for cell in cells:
        if cell.side == SERVICE:
            other = found.get((cell.engine, BARE[cell.engine], cell.length, cell.clients))
            if other is None:
                yield f"{cell.name}: {BARE[cell.engine]} did not speak, so the words cannot be compared"
            else:
                pairs.append((cell, other))
                yield from _of_other_length(cell, other)
    for engine in BARE:
        of_engine = [pair for pair in pairs if pair[0].engine == engine]
        for length in LENGTHS:
            yield from _worse(f"{engine}, {length.name}", [pair for pair in of_engine if pair[0].length == length])
        yield from _worse(engine, of_engine)
        yield from _not_speech(engine, of_engine)


def _of_other_length(cell: Cell, other: Cell) -> Iterator[str]:
    ours, theirs = (sum(spoken.sounding_seconds for spoken in one.answers) for one in (cell, other))
    if not abs(ours - theirs) <= OTHER_LENGTH * theirs:
        yield f"{cell.name}: {ours:.1f} s of speech, {other.side} needs {theirs:.1f} s for the same texts"


def _worse(name: str, pairs: Sequence[Pair]) -> Iterator[str]:
    """Compare the words of all the cells together."""
    if any(cell.words is None for pair in pairs for cell in pair):
        yield f"{name}: nobody listened, so the words cannot be compared"
        return
    ours, theirs = _words(cell for cell, _ in pairs), _words(other for _, other in pairs)
    allowed = max(WORSE_POINTS * ours.words / 100, WORSE_WORDS)
    if ours.edits > theirs.edits + allowed:
        yield (
            f"{name}: {ours.edits} of {ours.words} words were not understood, {theirs.edits} of the bare library's; "
            f"{allowed:.0f} more may be"
        )


def _not_speech(engine: str, pairs: Sequence[Pair]) -> Iterator[str]:
    """Tell when nobody would understand it, whatever the library makes of the texts."""
    ours = _words(cell for cell, _ in pairs)
    if ours.edits > max(MOST_WRONG_PERCENT * ours.words / 100, WORSE_WORDS):
        yield f"{engine}: {ours.edits} of {ours.words} words were not understood"


def _words(cells: Iterable[Cell]) -> WordErrors:
    return sum((cell.words for cell in cells if cell.words), WordErrors(0, 0))
