"""`make engines`: its plan has every engine, and one engine is run where it says, here with the fake engines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench import engines
from bench.engines import Failed, Place
from bench.engines_plan import HIDDEN, TABLES, Case, cases, extras
from bench.speech import Clip


@pytest.fixture
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of environments in which `base` is the running one."""
    python = tmp_path / "environments" / "base" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    python.parent.with_name("voice-stack.stamp").touch()
    monkeypatch.setattr(engines, "ENVIRONMENTS", tmp_path / "environments")
    return tmp_path / "environments"


def test_every_engine_of_ours_has_a_case() -> None:
    planned = [(case.kind, case.engine) for case in cases()]
    assert len(planned) == len(set(planned))
    assert set(planned) == {(kind, name) for kind, table in TABLES.items() for name in table if name not in HIDDEN}


def test_a_sentence_needs_real_weights() -> None:
    assert all(case.weights == "real weights" for case in cases() if case.has_sentence)
    assert {case.engine for case in cases() if case.weights == "real weights" and not case.has_sentence} == {
        *("community1", "fast", "ge2e"),
    }


def test_the_tests_of_a_case_exist() -> None:
    assert [path for case in cases() for path in case.paths if not (engines.ROOT / path).exists()] == []


def test_some_engines_need_their_extras_only() -> None:
    assert extras(["piper"]) == ["piper"]
    assert extras(["faster-whisper"]) == []
    # Its weights are converted with the library of another engine.
    assert extras(["sherpa-onnx"]) == ["sherpa", "whisper"]
    # Only its adapter is tested, without the library.
    assert extras(["pyannote"]) == []
    with pytest.raises(ValueError, match="no-such"):
        cases(["no-such"])


def test_wrong_words_are_counted_over_all_sentences() -> None:
    assert engines.percent(["One two.", "THREE four"], ["one two", "three five"]) == 25.0


def test_the_table_says_what_an_engine_was_tested_with() -> None:
    row = engines.empty(Case(kind="tts", engine="piper", weights="real weights", model="joe", note="converted"))
    assert engines.told([row | {"tests": "3 passed", "RTF": 0.1}]) == [
        {
            "engine": "tts piper",
            "tested with": "real weights: joe converted",
            "tests": "3 passed",
            "WER %": None,
            "RTF": 0.1,
            "RSS MB": None,
        }
    ]
    assert engines.told([engines.empty(Case(kind="asr", engine="fake", weights="none"))])[0]["tested with"] == "none"


@pytest.mark.e2e
@pytest.mark.usefixtures("environments")
def test_an_engine_is_tested_where_its_extra_is() -> None:
    row, wrong = engines.measure(Case(kind="asr", engine="fake", weights="none"), [])
    assert wrong == []
    assert str(row["tests"]).split(",")[0].endswith(" passed")
    assert "failed" not in str(row["tests"])


@pytest.mark.usefixtures("environments")
def test_tests_of_real_weights_have_to_be_run(tmp_path: Path) -> None:
    tests = tmp_path / "test_engine.py"
    tests.write_text(
        "import os, pathlib, pytest\n"
        "def test_converter(): assert pathlib.Path(os.environ['CONVERTER_PYTHON']).is_file()\n"
        "@pytest.mark.skip(reason='onnx is not installed')\n"
        "def test_weights(): pass\n"
    )
    made = {"kind": "diarization", "engine": "fake-diarizer", "tests": (str(tests),), "converter": "base"}
    row, wrong = engines.measure(Case(weights="stub", **made), [])
    assert (row["tests"], wrong) == ("1 passed, 1 skipped", [])
    row, wrong = engines.measure(Case(weights="real weights", **made), [])
    assert row["tests"] == ""
    assert "onnx is not installed" in wrong[0]


@pytest.mark.usefixtures("environments")
def test_an_environment_that_is_missing_is_told() -> None:
    row, wrong = engines.measure(Case(kind="tts", engine="coqui", weights="tiny checkpoint"), [])
    assert row["tests"] == ""
    assert wrong == ["tts coqui: the environment coqui is missing: scripts/make-engine-envs.sh builds it"]


@pytest.mark.e2e
def test_an_engine_speaks_and_listens_in_a_process_of_its_own(spoken: list[Clip], tmp_path: Path) -> None:
    place = Place(Path(sys.executable), tmp_path)
    told = {"engine": "fake", "model": None, "model_id": "", "options": {}, "voice": None, "folder": str(tmp_path)}
    said = place.ask(told | {"kind": "tts", "texts": ["one two", "three"]})
    assert [Path(file).is_file() for file in said["files"]] == [True, True]
    heard = place.ask(told | {"kind": "asr", "files": [str(clip.path) for clip in spoken]})
    assert len(heard["texts"]) == len(spoken)
    assert heard["audio_seconds"] == pytest.approx(9.0)
    assert heard["rss_mb"] > 10
    with pytest.raises(Failed, match="unknown engine"):
        place.ask(told | {"kind": "asr", "engine": "nobody", "files": []})
