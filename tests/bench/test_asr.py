"""`make bench-asr`: which figures there are, when a run fails, and one tiny run of our service with the fake engine."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bench import asr, asr_bench, asr_speed, peers, results, words
from bench.asr_bench import SEQUENTIAL, SPREAD
from bench.asr_plan import PARTS, AsrPlan, chosen
from bench.machine import describe
from bench.parts import Part
from bench.sides import OURS, Resident, row
from bench.speech import Clip
from bench.words import WordErrors
from tests.bench.asr_runs import SAID, plan, runs

# --- figures and rows ---------------------------------------------------------------------------


def test_every_figure_belongs_to_a_part() -> None:
    assert set(asr.OWNERS) == {figure.key for figure in results.ASR}
    assert set(asr.OWNERS.values()) == set(PARTS) == set(asr.MEASURES)


def test_speed_is_a_ratio_of_medians() -> None:
    slow = [*runs(3.0, "a", rounds=2), *runs(90.0, "a", rounds=1)]
    assert asr_bench.speedup({OURS: runs(1.2, "a"), SEQUENTIAL: slow}, SEQUENTIAL) == 2.5


def test_what_was_not_answered_is_no_throughput() -> None:
    (run,) = runs(2.0, "a", None, "c", rounds=1)
    assert (run.audio_seconds, run.throughput, run.errors) == (20.0, 20.0 / 6.0, 1)


def test_only_programs_that_ran_are_compared_with() -> None:
    part = Part()
    asr_speed._compare_throughput(part, {OURS: runs(1.0, "a"), SPREAD: runs(2.0, "a"), peers.SERVER: runs(4.0, "a")})
    assert part.figures == {"throughput_vs_bare_2x1_c8": 2.0, "throughput_vs_faster_whisper_server_c8": 4.0}


def test_the_best_of_the_programs_counts() -> None:
    part = Part()
    found = {OURS: runs(1.0, "a"), peers.SERVER: runs(4.0, "a"), peers.CLI: runs(3.0, "a")}
    asr_speed._compare_throughput(part, found)
    assert part.figures["throughput_vs_servers_c8"] == 3.0


def test_a_program_with_errors_is_not_compared_with() -> None:
    part = Part()
    found = {OURS: runs(1.0, "a", "b"), peers.SERVER: runs(4.0, "a", None), peers.CLI: runs(3.0, "a", "b")}
    asr_speed._compare_throughput(part, found)
    assert part.figures == {"throughput_vs_whisper_ctranslate2_c8": 3.0}
    assert "3 errors" in part.notes[0]


class Silent(Resident):
    def transcribe(self, clip: Clip) -> str:
        raise ConnectionError("gone")


def test_a_row_has_every_column_and_errors_have_no_latency() -> None:
    side = Silent("ours", 1)
    found = row("cell", side, runs(0.5, "a", "b"), concurrency=8, wer=1.234)
    assert found["p50 s"] == found["p99 s"] == 0.5
    assert (found["audio-s/s"], found["CPU-s per audio-s"], found["WER %"]) == (20.0, 0.05, 1.23)
    assert found["health p99 ms"] is None
    failed = row("cell", side, runs(0.5, None), concurrency=8, wer=None)
    assert (failed["errors"], failed["answers"], failed["p50 s"], failed["audio-s/s"]) == (3, 0, None, 0.0)


def test_an_error_of_one_clip_does_not_end_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    run = Silent("ours", os.getpid()).run([Clip(Path("x.wav"), 1.0, "x")], concurrency=1)
    assert run.errors == 1
    assert "gone" in capsys.readouterr().out
    assert run.peak_rss > 1


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wrong", "fails"), [(0, False), (1, True)])
@pytest.mark.usefixtures("counted")
def test_word_errors_are_compared_in_points(wrong: int, fails: bool) -> None:
    part, mine = Part(), SAID.replace("one", "x") if wrong else SAID
    asr_speed._compare_words(part, {OURS: runs(1.0, mine), SEQUENTIAL: runs(1.0, SAID)})
    assert part.figures == {
        "short_clips_wer_delta_points": 10.0 * wrong,
        "short_clips_edits": wrong,
        "short_clips_bare_edits": 0,
    }
    assert bool(part.failures) == fails


@pytest.mark.usefixtures("counted")
def test_a_quick_run_checks_the_long_file_without_a_figure() -> None:
    part = Part()
    found = {OURS: runs(1.0, SAID.replace("one", "x")), SEQUENTIAL: runs(1.0, SAID)}
    asr_speed._compare_long_words(part, found, quick=True)
    assert part.figures == {}
    assert "10.0 points above" in part.failures[0]


def test_words_are_counted_after_normalising() -> None:
    found = words.count(["mister smith paid twenty dollars", "yes"], ["Mr. Smith paid $20.", "Yes, yes!"])
    if found is None:
        pytest.skip("the environment of `make bench-env` is not there")
    assert found == WordErrors(edits=1, words=5)


# --- what is chosen -----------------------------------------------------------------------------


def test_parts_are_chosen_by_name() -> None:
    assert chosen("") == PARTS
    assert chosen(" long,short ") == ("short", "long")
    with pytest.raises(ValueError, match="no part lang"):
        chosen("short,lang")


def test_programs_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bench.environments.FOLDER", tmp_path)
    assert peers.variants(tmp_path, 2) == {}
    assert peers.versions() == {}


def test_every_way_of_a_program_has_the_same_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (peers.SERVER, peers.CLI):
        (tmp_path / name).mkdir()
        (tmp_path / name / "built.stamp").touch()
    monkeypatch.setattr("bench.environments.FOLDER", tmp_path)
    found = peers.variants(tmp_path, 4)
    assert {name: len(ways) for name, ways in found.items()} == {peers.SERVER: 3, peers.CLI: 3}
    assert "--workers 4, cpu_threads=1" in found[peers.SERVER]


# --- one real run -------------------------------------------------------------------------------


@pytest.mark.e2e
@pytest.mark.usefixtures("counted")
def test_our_service_alone(spoken: list[Clip], tmp_path: Path) -> None:
    tiny = plan(
        settings={"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "ASR_VAD_ENABLED": "false"},
        long_seconds=20.0, mixed_clips=3, hour_seconds=10.0, idle_unload=0.5, answers_under_load=16,
    )  # fmt: skip
    found = asr.run(tiny, tmp_path / "results", Console(quiet=True))
    assert results.read(tmp_path / "results" / "asr.json") == found
    # No bare library, no other program, no hour: their figures are absent.
    assert set(found.figures) == {
        "mixed_short_p95_vs_alone", "livez_p99_ms", "load_seconds", "reload_seconds", "rss_unloaded_mb",
    }  # fmt: skip
    assert 10 < found.figures["rss_unloaded_mb"] < 500
    assert set(found.tables) == set(PARTS)
    rows = [one for part in found.tables.values() for one in part]
    assert {one["side"] for one in rows} == {"ours"}
    assert not any(one["errors"] for one in rows)
    assert any("faster-whisper-server is not installed" in note for note in found.notes)
    # The fake engine says words of its own.
    assert [failure.partition(":")[0] for failure in found.failures] == ["livez", "memory"]
    assert all("100.0 % of the words are wrong" in failure for failure in found.failures)


@pytest.mark.e2e
def test_a_service_that_fails_fails_the_run(
    spoken: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "ASR_ENGINE_OPTIONS__FAIL": "error"}
    monkeypatch.setattr(AsrPlan, "from_environment", lambda: plan(settings=failing, parts=("livez",), rounds=1))
    monkeypatch.setattr(results, "LATEST", tmp_path)
    monkeypatch.setattr(results, "write", _write_to(tmp_path))
    assert asr.main() == 1
    assert "errors" in results.read(tmp_path / "asr.json").failures[0]
    capsys.readouterr()


def _write_to(folder: Path) -> Callable[..., Path]:
    write = results.write
    return lambda name, result, _=None: write(name, result, folder)


def test_speech_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("bench.speech.RECORDINGS", tmp_path / "en")
    monkeypatch.setattr(AsrPlan, "from_environment", plan)
    assert asr.main() == 2
    assert "VOICE_STACK_TEST_DATA" in capsys.readouterr().out


def test_a_part_that_breaks_off_loses_its_old_figures(
    spoken: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = results.Result(
        measured_at=results.now(), quick=False, machine=describe(), settings={}, unit="s", samples={},
        tables={"short": ({"side": OURS},)}, short_clips_vs_bare_speedup=9.0, livez_p99_ms=1.0,
    )  # fmt: skip
    results.write("asr", earlier, tmp_path)

    def broken(_: asr_bench.Bench) -> Part:
        raise TimeoutError("[/still] busy")

    whole = Part(figures={"mixed_short_p95_vs_alone": 2.0})
    monkeypatch.setattr(asr, "MEASURES", {"short": broken, "mixed": lambda _: whole})
    with Console(file=io.StringIO()) as console:
        found = asr.run(plan(parts=("short", "mixed")), tmp_path, console)
    assert found.figures == {"livez_p99_ms": 1.0, "mixed_short_p95_vs_alone": 2.0}
    assert found.failures == ("short: broken off: TimeoutError: [/still] busy",)
    assert found.tables == {}
