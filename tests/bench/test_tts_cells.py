"""The cells and figures of `make bench-tts`, from answers made up here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pytest

from bench import results
from bench.tts_cells import (
    ADAPTIVE,
    BARE,
    CREATE,
    KOKORO,
    KOKORO_ONNX,
    MP3,
    PIPER,
    PIPER_TTS,
    SERVICE,
    Cell,
    details,
    figures,
    notes,
)
from bench.tts_plan import parts
from bench.tts_player import Arrival
from bench.tts_sides import FASTKOKORO, Spoken
from bench.tts_texts import BRIEF, LENGTHS, LONG, ONE_SENTENCE, TWO_SENTENCES, Length, Supply
from bench.words import WordErrors

MILLISECOND = 1_000_000
SECOND = 1000 * MILLISECOND
BYTES_PER_SECOND = 48_000


def spoken(first_ms: float, *, seconds: float = 2.0, total: float = 1.0, gap: float = 0.0) -> Spoken:
    """An answer of so many seconds that took `total` seconds; half of it came first, `gap` makes the rest late."""
    half = round(seconds * BYTES_PER_SECOND / 4) * 2
    first = round(first_ms * MILLISECOND)
    end = max(round(total * SECOND), first)
    if gap:
        end = first + round((seconds / 2 + gap) * SECOND)
    return Spoken("some words", bytes(2 * half), (Arrival(first, half), Arrival(end, half)), 24_000)


def cell(engine: str, side: str, length: Length, *firsts: float, clients: int = 1) -> Cell:
    return Cell(engine, side, length, [[spoken(first)] * clients for first in firsts])


def of_110(engine: str, side: str, one: Sequence[float], two: Sequence[float]) -> list[Cell]:
    return [cell(engine, side, ONE_SENTENCE, *one), cell(engine, side, TWO_SENTENCES, *two)]


WHOLE = [
    *of_110(KOKORO, SERVICE, (500, 400, 9000), (600, 700, 500)),
    *of_110(KOKORO, FASTKOKORO, (2900, 3000, 3100), (1000, 900, 1100)),
    *of_110(KOKORO, ADAPTIVE, (1000,), (1200,)),
    *of_110(KOKORO, KOKORO_ONNX, (4000,), (4000,)),
    *of_110(PIPER, SERVICE, (100, 110, 120), (100,)),
    *of_110(PIPER, PIPER_TTS, (300,), (90,)),
    *(cell(engine, SERVICE, length, 100) for engine in (KOKORO, PIPER) for length in (BRIEF, LONG)),
]


def test_the_figures_are_made_of_medians() -> None:
    found = figures(WHOLE)
    assert found["kokoro_first_byte_ms"] == 550
    assert found["kokoro_first_byte_vs_fastkokoro"] == pytest.approx(550 / 2000)
    assert found["kokoro_first_byte_vs_fastkokoro_adaptive"] == 0.5
    assert found["kokoro_first_byte_vs_bare"] == pytest.approx(550 / 4000, abs=1e-4)
    assert found["piper_first_byte_ms"] == 105
    assert found["piper_first_byte_ms_over_bare"] == 10  # -190 with one sentence, 10 with two
    assert found["underruns"] == 0


def test_the_details_are_of_one_text_each() -> None:
    found = details(WHOLE)
    assert found["first byte of kokoro / fastkokoro, 110 characters, one sentence"] == round(500 / 3000, 3)
    assert found["first byte of kokoro / fastkokoro, 110 characters, two sentences"] == 0.6
    assert len(found) == 8
    assert details([cell(KOKORO, FASTKOKORO, BRIEF, 1), cell(KOKORO, SERVICE, LONG, 1)]) == {}


def test_every_figure_of_the_table_is_among_them() -> None:
    assert {figure.key for figure in results.FIGURES["tts"]} <= set(figures(WHOLE))


@pytest.mark.parametrize(
    ("engine", "side", "key"),
    [
        (KOKORO, FASTKOKORO, "kokoro_first_byte_vs_fastkokoro"),
        (KOKORO, SERVICE, "kokoro_first_byte_vs_fastkokoro"),
        (KOKORO, SERVICE, "underruns"),
        (PIPER, SERVICE, "underruns"),
        (PIPER, PIPER_TTS, "piper_first_byte_ms_over_bare"),
    ],
)
def test_what_was_not_measured_is_absent(engine: str, side: str, key: str) -> None:
    assert key not in figures([one for one in WHOLE if (one.engine, one.side) != (engine, side)])


def test_half_of_the_texts_is_not_measured() -> None:
    assert "underruns" not in figures([one for one in WHOLE if one.length is not LONG])
    assert "kokoro_first_byte_vs_fastkokoro" not in figures([one for one in WHOLE if one.length is not ONE_SENTENCE])
    assert figures([cell(KOKORO, ADAPTIVE, BRIEF, 5.0)]) == {}
    assert figures([]) == {}


def test_other_numbers_of_clients_are_not_in_the_figures() -> None:
    crowd = [cell(KOKORO, SERVICE, ONE_SENTENCE, 9999, clients=4), cell(PIPER, PIPER_TTS, TWO_SENTENCES, 1, clients=2)]
    assert figures([*WHOLE, *crowd]) == figures(WHOLE)


def stuttering(engine: str, side: str = SERVICE, *, clients: int = 1, seconds: float = 2.0, gap: float = 0.1) -> Cell:
    return Cell(engine, side, BRIEF, [[spoken(1, seconds=seconds, gap=gap)] * clients] * 2)


def test_underruns_are_those_of_our_service_with_one_client() -> None:
    ours = [stuttering(PIPER), stuttering(KOKORO)]
    others = [stuttering(KOKORO, FASTKOKORO), stuttering(KOKORO, clients=2), stuttering(PIPER, clients=4)]
    assert [one.underruns for one in [*ours, *others]] == [2, 2, 2, 4, 8]
    assert figures([*WHOLE, *ours, *others])["underruns"] == 4
    assert [one.row()["counted"] for one in [*ours, *others]] == ["yes", "yes", "", "", ""]


def test_an_engine_that_is_too_slow_is_not_counted_and_named() -> None:
    slow = stuttering(KOKORO, gap=0.7)  # 0.85 s per second of speech
    assert slow.rtf == pytest.approx(0.85, abs=0.01)
    assert not slow.counts
    assert stuttering(PIPER, gap=0.7).counts  # Piper always is
    assert figures([*WHOLE, slow, stuttering(PIPER)])["underruns"] == 2
    assert [note for note in notes([slow, stuttering(PIPER)]) if slow.name in note]
    assert not [note for note in notes([stuttering(KOKORO)]) if "not counted" in note]


def test_a_row_says_what_was_measured() -> None:
    row = Cell(KOKORO, SERVICE, BRIEF, [[spoken(100, gap=0.5)], [spoken(300)]], WordErrors(1, 8)).row()
    assert (row["first byte ms"], row["underruns"], row["silence s"], row["WER %"]) == (200.0, 1, 0.5, 12.5)
    assert (row["speech s"], row["rounds"], row["clients"]) == (2.0, 2, 1)


def test_of_compressed_audio_only_the_first_byte_is_shown() -> None:
    row = cell(KOKORO, MP3, TWO_SENTENCES, 250).row()
    assert row["first byte ms"] == 250.0
    assert not any(row[column] for column in ("total s", "speech s", "RTF", "underruns", "WER %"))
    assert figures([cell(KOKORO, MP3, TWO_SENTENCES, 250)]) == {"kokoro_first_byte_mp3_ms": 250.0}


@pytest.mark.parametrize("quick", [True, False])
def test_the_plan_measures_every_figure(quick: bool) -> None:
    cells = [
        cell(engine, side, part.length, *[1.0] * part.rounds, clients=part.clients)
        for engine in (KOKORO, PIPER)
        for part in parts(engine, quick=quick)
        for side in part.sides
    ]
    assert {figure.key for figure in results.FIGURES["tts"]} <= set(figures(cells))
    assert {(one.length.name, one.clients) for one in cells if one.side == SERVICE} >= {
        *((length.name, 1) for length in LENGTHS),
        *((TWO_SENTENCES.name, clients) for clients in (2, 4)),
    }
    compared = [one for one in cells if one.clients == 1 and one.length in (ONE_SENTENCE, TWO_SENTENCES)]
    assert all(len(one.rounds) >= 3 for one in compared)


def test_the_whole_plan_measures_every_side_everywhere() -> None:
    for engine, sides in ((KOKORO, {SERVICE, KOKORO_ONNX, FASTKOKORO}), (PIPER, {SERVICE, PIPER_TTS})):
        found = list(parts(engine, quick=False))
        assert {(part.length.name, part.clients) for part in found} == {
            (length.name, clients) for length in LENGTHS for clients in (1, 2, 4)
        }
        assert all(part.rounds >= 3 for part in found)
        assert all(sides <= set(part.sides) for part in found if SERVICE in part.sides)
        assert {(part.length, part.clients) for part in found if SERVICE in part.sides} == {
            (part.length, part.clients) for part in found
        }


def test_lengths_can_be_chosen() -> None:
    assert {part.length.characters for part in parts(KOKORO, quick=True, characters=frozenset({25, 110}))} == {25, 110}


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("engine", [KOKORO, PIPER])
def test_ours_and_the_library_always_speak_the_same(engine: str, quick: bool) -> None:
    for part in parts(engine, quick=quick):
        assert (SERVICE in part.sides) == (BARE[engine] in part.sides)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("engine", [KOKORO, PIPER])
def test_no_process_speaks_a_text_twice(engine: str, quick: bool) -> None:
    supply, spoken_by = Supply(), defaultdict[str, list[str]](list)
    for part in parts(engine, quick=quick):
        texts = supply.take(part.length, clients=part.clients, rounds=part.warm_up + part.rounds)
        for side in part.sides:
            process = {MP3: SERVICE, CREATE: KOKORO_ONNX}.get(side, side)
            spoken_by[process] += [text for one in texts for text in one]
    assert spoken_by[SERVICE]
    assert all(len(set(texts)) == len(texts) for texts in spoken_by.values())
