"""The cells of `make bench-tts`: what was measured of one side at one length and number of clients, and the figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.results import Row
from bench.tts_sides import FASTKOKORO, Spoken
from bench.tts_texts import LENGTHS, ONE_SENTENCE, TWO_SENTENCES, Length
from bench.words import WordErrors

KOKORO, PIPER = "kokoro", "piper"
SERVICE, KOKORO_ONNX, PIPER_TTS = "service", "kokoro-onnx", "piper-tts"
MP3, CREATE, ADAPTIVE = "service, mp3", "kokoro-onnx, create()", "fastkokoro, adaptive"
BARE = {KOKORO: KOKORO_ONNX, PIPER: PIPER_TTS}
FAST_ENOUGH = 0.8
"""The seconds per second of speech that an engine may take at most if nothing is to be waited for."""


@dataclass(frozen=True, slots=True)
class Cell:
    """All rounds of one side: in each, one answer per client. `words` are those that were not understood."""

    engine: str
    side: str
    length: Length
    rounds: Sequence[Sequence[Spoken]]
    words: WordErrors | None = None

    @property
    def clients(self) -> int:
        """How many spoke at the same time."""
        return len(self.rounds[0])

    @property
    def name(self) -> str:
        """What the cell is called where samples are listed."""
        return f"{self.engine}, {self.side}, {self.length.name}, {self.clients} at once"

    @property
    def answers(self) -> list[Spoken]:
        """All answers."""
        return [spoken for one in self.rounds for spoken in one]

    @property
    def first_byte_ms(self) -> float:
        """The median of the first bytes."""
        return statistics.median(spoken.first_byte_ms for spoken in self.answers)

    @property
    def is_audio(self) -> bool:
        """Whether the bytes are samples, so that more than the first of them means something."""
        return self.side != MP3

    @property
    def rtf(self) -> float:
        """Seconds per second of speech."""
        return sum(spoken.total_seconds for spoken in self.answers) / sum(spoken.seconds for spoken in self.answers)

    @property
    def underruns(self) -> int:
        """How often players ran dry, in all answers."""
        return sum(spoken.playback.underruns for spoken in self.answers)

    @property
    def silence(self) -> float:
        """The seconds of silence that this made."""
        return float(sum(spoken.playback.silence for spoken in self.answers))

    @property
    def counts(self) -> bool:
        """Whether its underruns are ours to answer for: the service, one client, an engine that is fast enough."""
        ours = self.side == SERVICE and self.clients == 1
        return ours and (self.engine != KOKORO or self.rtf < FAST_ENOUGH)

    def row(self) -> Row:
        """Return the columns of the cell."""
        audio = self.is_audio
        return {
            "engine": self.engine,
            "text": self.length.name,
            "clients": self.clients,
            "side": self.side,
            "rounds": len(self.rounds),
            "first byte ms": round(self.first_byte_ms, 1),
            "total s": round(statistics.median(spoken.total_seconds for spoken in self.answers), 2) if audio else None,
            "speech s": round(statistics.median(spoken.seconds for spoken in self.answers), 2) if audio else None,
            "RTF": round(self.rtf, 3) if audio else None,
            "underruns": self.underruns if audio else None,
            "silence s": round(self.silence, 2) if audio else None,
            "counted": "yes" if self.counts else "",
            "WER %": None if self.words is None else round(self.words.percent, 2),
        }


def figures(cells: Sequence[Cell]) -> dict[str, float]:
    """Return the figures that these cells are enough for.

    110 characters are measured as one sentence and as two, because what speaks sentence by sentence begins later with a
    long one. A first byte is the mean of the two medians; Piper is held to the text where it does worse.
    """
    found: dict[str, float] = {}
    kokoro, piper = (_first_bytes(cells, engine, SERVICE) for engine in (KOKORO, PIPER))
    for key, side in (("fastkokoro", FASTKOKORO), ("fastkokoro_adaptive", ADAPTIVE), ("bare", KOKORO_ONNX)):
        if kokoro and (others := _first_bytes(cells, KOKORO, side)):
            found[f"kokoro_first_byte_vs_{key}"] = sum(kokoro) / sum(others)
    if piper and (bare := _first_bytes(cells, PIPER, PIPER_TTS)):
        found["piper_first_byte_ms_over_bare"] = max(ours - theirs for ours, theirs in zip(piper, bare, strict=True))
    if _all_played(cells):
        found["underruns"] = sum(cell.underruns for cell in cells if cell.counts)
    for engine, ours in ((KOKORO, kokoro), (PIPER, piper)):
        if ours:
            found[f"{engine}_first_byte_ms"] = statistics.fmean(ours)
        if compressed := _first_bytes(cells, engine, MP3, texts=(TWO_SENTENCES,)):
            found[f"{engine}_first_byte_mp3_ms"] = compressed[0]
    return {key: round(value, 4) for key, value in found.items()}


def details(cells: Iterable[Cell]) -> dict[str, float]:
    """Return, text by text, what the figures sum up: the first byte of our service over that of every other side."""
    alone = [cell for cell in cells if cell.clients == 1 and cell.is_audio]
    ours = {(cell.engine, cell.length): cell.first_byte_ms for cell in alone if cell.side == SERVICE}
    return {
        f"first byte of {cell.engine} / {cell.side}, {cell.length.name}": round(ours[key] / cell.first_byte_ms, 3)
        for cell in alone
        if cell.side != SERVICE and (key := (cell.engine, cell.length)) in ours
    }


def _first_bytes(
    cells: Iterable[Cell], engine: str, side: str, *, texts: Sequence[Length] = (ONE_SENTENCE, TWO_SENTENCES)
) -> list[float]:
    """Return milliseconds for one client and each of the texts; nothing unless all of them were measured."""
    wanted = (engine, side, 1)
    medians = {cell.length: cell.first_byte_ms for cell in cells if (cell.engine, cell.side, cell.clients) == wanted}
    return [medians[text] for text in texts] if set(texts) <= set(medians) else []


def _all_played(cells: Iterable[Cell]) -> bool:
    """Whether our service spoke every text to one client with each engine: of a part it would say too much."""
    played = {(cell.engine, cell.length) for cell in cells if cell.side == SERVICE and cell.clients == 1}
    return played >= {(engine, length) for engine in (KOKORO, PIPER) for length in LENGTHS}


def notes(cells: Sequence[Cell]) -> list[str]:
    """Return what must be known beside the figures."""
    slow = [cell for cell in cells if cell.side == SERVICE and cell.clients == 1 and not cell.counts]
    return [
        f"underruns are not counted in the cell {cell.name}: it takes {cell.rtf:.2f} s for a second of speech"
        for cell in slow
    ]
