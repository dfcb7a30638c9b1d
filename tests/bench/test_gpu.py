"""The benchmark of batches: its figures, and a tiny run of it without a GPU."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench import gpu, results
from bench.gpu import Measured, Sizes, failures, figures, measure
from bench.speech import Clip

CLIPS = [Clip(Path(f"{name}.wav"), 5.0, "the birch canoe slid quickly over some smooth old planks") for name in "abc"]


def heard(throughput: Sequence[float], texts: Sequence[str]) -> Measured:
    clips = [Clip(Path("x.wav"), 5.0, CLIPS[0].text)] * len(texts)
    return Measured(tuple(throughput), tuple(clips), tuple(texts))


def test_every_step_is_measured_in_every_round_after_one_that_does_not_count() -> None:
    asked: list[tuple[int, int]] = []

    def ask(step: int, clips: Sequence[Clip]) -> tuple[float, list[str]]:
        asked.append((step, len(clips)))
        return 2.0 * len(clips) / step, [clip.path.stem for clip in clips]

    found = measure(ask, CLIPS, Sizes((1, 2, 4), clips=5, rounds=3))
    assert sorted(asked[:3]) == [(1, 1), (2, 2), (4, 4)]
    assert sorted(asked[3:]) == sorted([(1, 5), (2, 5), (4, 8)] * 3)
    assert {asked[at][0] for at in range(0, 12, 3)} == {1, 2, 4}
    assert {step: one.median for step, one in found.items()} == {1: 2.5, 2: 5.0, 4: 10.0}
    assert "".join(found[2].texts) == "abcab" * 3
    assert [clip.path.stem for clip in found[2].clips] == list(found[2].texts)


def test_figures_compare_with_one_window_and_with_bare_calls() -> None:
    windows = {1: heard((10, 10, 90), ()), 2: heard((30, 30, 30), ())}
    found = figures(windows, {1: heard((5,), ()), 2: heard((8,), ())}, heard((4,), ()))
    assert found == {
        "windows_audio_s_per_s_b1": 10,
        "windows_audio_s_per_s_b2": 30,
        "windows_vs_one_b1": 1,
        "windows_vs_one_b2": 3,
        "server_audio_s_per_s_c1": 5,
        "server_audio_s_per_s_c2": 8,
        "server_vs_bare_c1": 1.25,
        "server_vs_bare_c2": 2,
        "bare_audio_s_per_s": 4,
    }


def test_text_that_gets_worse_is_a_failure() -> None:
    right, wrong = CLIPS[0].text, "the birch canoe slid quickly"
    good = heard((1.0,), [right] * 4)
    assert failures("windows", {1: good, 2: heard((1.0,), [right] * 4)}, good) == []
    assert failures("windows", {2: heard((1.0,), [right] * 2 + [wrong] * 2)}, good) == [
        "windows 2: 25.0 % of the words are wrong, 0.0 % one by one"
    ]
    # A word or two may come out differently.
    assert failures("windows", {2: heard((1.0,), [right] * 3 + [right.replace("planks", "blanks")])}, good) == []


def test_what_was_said_in_unknown_words_is_not_held_against_anybody() -> None:
    one = Measured((1.0,), (Clip(Path("x.wav"), 5.0, ""),), ("whatever",))
    assert failures("windows", {1: one}, one) == []
    assert gpu.rows("windows", {1: one}) == ({"windows": 1, "rounds": 1, "audio-s/s": 1.0, "WER %": None},)


@pytest.mark.parametrize(("device", "most", "rounds"), [("cpu", 2, 1), ("cuda", 64, 3)])
def test_a_cpu_gets_a_tiny_form(device: str, most: int, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUICK", "ROUNDS"):
        monkeypatch.delenv(name, raising=False)
    assert (Sizes.of(device).steps[-1], Sizes.of(device).rounds) == (most, rounds)
    monkeypatch.setenv("ROUNDS", "7")
    assert Sizes.of(device).rounds == 7


@pytest.mark.e2e
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("speech_data")
def test_it_runs_on_a_cpu(
    model_dir: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model_dir("whisper-tiny.en")
    for name in ("BENCH_DEVICE", "BENCH_MODEL", "ROUNDS"):
        monkeypatch.delenv(name, raising=False)
    write = results.write
    monkeypatch.setattr(results, "write", lambda name, result: write(name, result, tmp_path))
    status = gpu.main()
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert (status, found["failures"]) == (0, [])
    expected = {f"windows_vs_one_b{step}" for step in (1, 2)} | {f"server_vs_bare_c{step}" for step in (1, 2)}
    assert all(0 < found[key] < math.inf for key in expected)
    assert found["windows_vs_one_b1"] == 1
    assert found["quick"] is True
    assert {name: len(rows) for name, rows in found["tables"].items()} == {
        "windows in one call": 2,
        "clients of the service": 2,
        "bare calls": 1,
    }
    # LibriSpeech, read clearly: all sides understood it.
    assert all(row["WER %"] < 25 for rows in found["tables"].values() for row in rows)
    assert "clients of the service" in capsys.readouterr().out
