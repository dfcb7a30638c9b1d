"""docs/performance.md is what the reference results say, and only whole results become reference ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import render as render_module
from bench import results
from bench.machine import describe
from bench.render import adopt, render

ROOT = Path(__file__).resolve().parents[2]


def made(name: str, *, quick: bool = False, **figures: float) -> results.Result:
    given: dict[str, Any] = {figure.key: 1.0 for figure in results.FIGURES[name]} | figures
    return results.Result(
        measured_at=results.now(),
        quick=quick,
        machine=describe(),
        settings={"threads": 2},
        samples={"asr_bare_wav": (1.0, 2.0, 3.0)},
        unit="ms",
        **given,
    )


def saved(folder: Path, **given: results.Result) -> Path:
    folder.mkdir()
    for name, result in given.items():
        (folder / f"{name}.json").write_text(result.model_dump_json())
    return folder


def row(page: str, label: str) -> list[str]:
    return next([cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if label in line)


def test_the_page_is_up_to_date() -> None:
    command = [sys.executable, "-m", "bench.render", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_target_is_met_or_missed() -> None:
    page = render({"overhead": made("overhead", asr_overhead_ratio_10s_wav=1.021, asr_overhead_ratio_10s_mp3=1.05)})
    assert row(page, "10 s MP3")[1:] == ["1.050", "≤ 1.050", "met"]
    assert row(page, "alone, 10 s WAV")[1:] == ["1.021", "≤ 1.020", "**missed**"]


def test_the_first_byte_is_held_to_the_bare_first_piece() -> None:
    page = render({"overhead": made("overhead", tts_first_byte_ms=521.0, tts_bare_first_piece_ms=500.0)})
    assert row(page, "first byte (pcm)")[1:] == ["521.0 ms", "≤ 520.0 ms", "**missed**"]


@pytest.mark.parametrize(("measured", "verdict"), [(2.5, "met"), (2.49, "**missed**")])
def test_a_speedup_must_reach_its_target(measured: float, verdict: str) -> None:
    page = render({"asr": made("asr", short_clips_vs_bare_speedup=measured)})
    assert row(page, "clips of 2-12 s one by one")[1:] == [f"{measured:.2f} x", "≥ 2.50 x", verdict]


def test_wrong_words_are_held_to_those_of_the_library() -> None:
    page = render({"asr": made("asr", short_clips_edits=55.0, short_clips_bare_edits=50.0)})
    assert row(page, "wrong words in all clips |")[1:] == ["55 words", "≤ 54 words", "**missed**"]


def test_figures_that_were_not_measured_are_not_shown() -> None:
    given = made("asr").model_dump()
    del given["throughput_vs_servers_c8"]
    assert "the best other program" not in render({"asr": results.Result(**given)})


def test_cells_are_shown_by_part_without_empty_columns() -> None:
    cells = (
        {"side": "ours", "p50 s": 0.5, "errors": 0, "WER %": None, "told besides": ""},
        {"side": "other", "p50 s": None, "errors": 0, "WER %": None, "told besides": ""},
    )
    result = made("asr").model_copy(update={"tables": {"short": cells}, "peers": {"other": {"version": "1.0"}}})
    page = render({"asr": result})
    assert "### One client" in page
    assert "| side | p50 s | errors |\n| --- | --- | --- |\n| ours | 0.5 | 0 |\n| other |  | 0 |" in page
    assert "* other: version 1.0" in page


def test_the_machine_and_the_spread_are_shown() -> None:
    page = render({"overhead": made("overhead")})
    assert describe().cpu in page
    assert row(page, "`asr_bare_wav`") == ["`asr_bare_wav`", "3", "1.0", "2.0", "3.0", "3.0"]


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    result = made("memory", asr_api_rss_mb=77.5)
    path = results.write("memory", result, tmp_path)
    assert results.read(path) == result
    assert json.loads(path.read_text())["asr_api_rss_mb"] == 77.5
    assert '"asr_bare_wav": [1.0, 2.0, 3.0]' in path.read_text()


def test_whole_results_become_reference_ones(tmp_path: Path) -> None:
    latest = saved(tmp_path / "latest", overhead=made("overhead"), memory=made("memory"))
    adopt((), latest, tmp_path / "reference")
    assert {path.name for path in (tmp_path / "reference").iterdir()} == {"overhead.json", "memory.json"}


def test_a_benchmark_is_published_without_the_others(tmp_path: Path) -> None:
    latest = saved(tmp_path / "latest", asr=made("asr"))
    adopt((), latest, tmp_path / "reference")
    assert [path.name for path in (tmp_path / "reference").iterdir()] == ["asr.json"]


def test_the_named_ones_are_published(tmp_path: Path) -> None:
    latest = saved(tmp_path / "latest", asr=made("asr"), tts=made("tts"), memory=made("memory", quick=True))
    adopt(["asr", "tts"], latest, tmp_path / "reference")
    assert {path.name for path in (tmp_path / "reference").iterdir()} == {"asr.json", "tts.json"}
    with pytest.raises(ValueError, match="make bench-memory"):
        adopt((), latest, tmp_path / "reference")
    with pytest.raises(ValueError, match="no results of overhead"):
        adopt(["asr", "overhead"], latest, tmp_path / "reference")


@pytest.mark.parametrize(("device", "published"), [("cpu", False), ("cuda", True)])
def test_batches_on_a_cpu_are_not_published(
    device: str, published: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = made("gpu", quick=device == "cpu").model_copy(update={"settings": {"device": device}})
    adopt((), saved(tmp_path / "latest", asr=made("asr"), gpu=gpu), tmp_path / "reference")
    assert {path.stem for path in (tmp_path / "reference").iterdir()} == {"asr", *(["gpu"] if published else [])}
    assert ("measured on a CPU" in capsys.readouterr().out) != published


@pytest.mark.parametrize(("told", "names"), [(["--adopt"], []), (["--adopt", "asr", "tts"], ["asr", "tts"])])
def test_names_are_given_on_the_command_line(
    told: list[str], names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopted: list[list[str]] = []
    monkeypatch.setattr(render_module, "adopt", adopted.append)
    monkeypatch.setattr(render_module, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(sys, "argv", ["render", *told])
    assert render_module.main() == 0
    assert adopted == [names]


def test_nothing_is_published_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no results"):
        adopt((), tmp_path, tmp_path / "reference")


def test_failed_results_are_not_published(tmp_path: Path) -> None:
    failed = made("asr").model_copy(update={"failures": ("short: no text",)})
    with pytest.raises(ValueError, match="no text"):
        adopt((), saved(tmp_path / "latest", asr=failed), tmp_path / "reference")


def test_quick_results_do_not(tmp_path: Path) -> None:
    latest = saved(tmp_path / "latest", overhead=made("overhead", quick=True), memory=made("memory"))
    with pytest.raises(ValueError, match="make bench-overhead"):
        adopt((), latest, tmp_path / "reference")


def test_results_with_a_figure_left_out_do_not(tmp_path: Path) -> None:
    short = made("memory").model_dump()
    del short[results.PEAK]
    latest = saved(tmp_path / "latest", overhead=made("overhead"), memory=results.Result(**short))
    with pytest.raises(ValueError, match="make bench-memory"):
        adopt((), latest, tmp_path / "reference")
    assert not (tmp_path / "reference").exists()
