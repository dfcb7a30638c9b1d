"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer

from voice_stack.cli import app

FAKE = {"ASR_MODEL": "fake", "ASR_ENGINE": "fake", "TTS_MODEL": "fake", "TTS_ENGINE": "fake"}


def tree(command: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of a command and of all below it."""
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from tree(child, *path, name)


def run(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Any:
    return subprocess.run(
        [sys.executable, "-P", "-m", "voice_stack", *arguments],
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("command", tuple(tree(typer.main.get_command(app))), ids=" ".join)
def test_every_command_has_help_and_every_leaf_an_example(command: tuple[str, ...]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0, done.stderr
    if "COMMAND" not in done.stdout:
        assert "Example: voice-stack" in done.stdout or re.search(r"Example: .*voice-stack", done.stdout)


def test_the_version_is_printed() -> None:
    assert re.fullmatch(r"voice-stack \d+\.\d+\.\d+\n", run("--version").stdout)


def test_a_slip_of_the_pen_is_answered_with_the_command_that_was_meant() -> None:
    done = run("transcibe", "x.wav")
    assert (done.returncode, "Did you mean 'transcribe'?" in done.stderr) == (2, True), done.stderr


def test_the_command_that_serves_brings_in_nothing_of_either_service() -> None:
    code = "import sys, typer; from voice_stack.cli import app; typer.main.get_command(app).commands['serve']"
    program = [sys.executable, "-P", "-c", f"{code}; print(*sys.modules)"]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    names = done.stdout.split()
    assert "voice_stack.cli.serve" in names
    assert [name for name in names if name.partition(".")[0] in ("asr", "tts")] == []


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"ASR_DEVICE": "cuda"}, "cuda"),
        ({"ASR_DEVICE": "gpu"}, "ASR_DEVICE"),
        ({"ASR_IDLE_UNLOAD": "no"}, "ASR_IDLE_UNLOAD"),
        ({"ASR_ENGINE": "no-such-engine", "ASR_MODEL": "x"}, "no-such-engine"),
        ({**FAKE, "ASR_ENGINE_OPTIONS__NO_SUCH": "1"}, "no_such"),
        ({**FAKE, "ASR_ENGINE_OPTIONS__DELAY": "soon"}, "delay"),
        ({**FAKE, "ASR_ENGINE_OPTIONS": "beam_size=3"}, "ASR_ENGINE_OPTIONS"),
        ({"ASR_ENGINE": "odd[/x]", "ASR_MODEL": "x"}, "odd[/x]"),
    ],
)
def test_a_service_that_cannot_work_refuses_to_start_in_one_line(
    env: dict[str, str], message: str, tmp_path: Path
) -> None:
    done = run("serve", "asr", "--port", "0", env=env, cwd=tmp_path)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("voice-stack:")]
    assert len(lines) == 1, done.stderr
    assert message.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("serve", "asr", "--port", str(taken.getsockname()[1]), env=FAKE, cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot listen" in done.stderr


def test_the_doctor_examines_everything(tmp_path: Path) -> None:
    done = run("doctor", env={**FAKE, "ASR_PORT": "0", "TTS_PORT": "0"}, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for subject in ("ffmpeg", "hardware", "ctranslate2", "engine asr/faster-whisper", "engine tts/coqui", "asr model"):
        assert subject in done.stdout
    for subject in ("engine diarization/community1", "diarization model"):
        assert subject in done.stdout


def test_the_doctor_says_how_to_get_the_diarization_model_and_does_not_insist(tmp_path: Path) -> None:
    env = {**FAKE, "ASR_PORT": "0", "TTS_PORT": "0", "VOICE_STACK_CACHE": str(tmp_path)}
    done = run("doctor", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "voice-stack models pull diarization-community1" in done.stdout


def test_the_doctor_finds_a_diarization_model_that_is_none(tmp_path: Path) -> None:
    env = {**FAKE, "ASR_PORT": "0", "TTS_PORT": "0", "DIARIZATION_MODEL": "nonsense"}
    done = run("doctor", env=env, cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "'nonsense' does not exist" in done.stdout


@pytest.mark.parametrize(
    ("settings", "says", "status"),
    [
        ({"DIARIZATION_MODEL": "fake-diarizer"}, "fake-diarizer needs no files", 0),
        ({"DIARIZATION_DEVICE": "mps", "DIARIZATION_MODEL": "fake-diarizer"}, "device 'mps'", 1),
        ({"DIARIZATION_ENGINE": "broken"}, "broken", 1),
    ],
)
def test_the_doctor_tells_of_what_diarizes(tmp_path: Path, settings: dict[str, str], says: str, status: int) -> None:
    env = {**FAKE, "ASR_PORT": "0", "TTS_PORT": "0", "DIARIZATION_ENGINE": "fake-diarizer", **settings}
    done = run("doctor", env=env, cwd=tmp_path)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("diarization model")]
    assert says in line
    assert done.returncode == status, done.stdout


def test_a_diarization_device_that_is_not_there_keeps_the_service_from_starting(tmp_path: Path) -> None:
    env = {**FAKE, "DIARIZATION_DEVICE": "mps", "DIARIZATION_ENGINE": "fake-diarizer"}
    done = run("serve", "asr", "--port", "0", env=env, cwd=tmp_path)
    assert done.returncode != 0
    assert "device 'mps'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(find_spec("TTS") is not None, reason="the extra coqui is installed")
def test_the_doctor_says_how_to_get_a_missing_engine(tmp_path: Path) -> None:
    done = run("doctor", env=FAKE, cwd=tmp_path)
    assert "pip install 'voice-stack[coqui]'" in done.stdout


def test_the_doctor_goes_on_where_something_is_broken(tmp_path: Path) -> None:
    plugin = tmp_path / "broken-1.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n", encoding="utf-8")
    (plugin / "entry_points.txt").write_text("[voice_stack.asr_engines]\nbroken = broken:Engine\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text("raise OSError('wrong [/x] library')\n", encoding="utf-8")
    env = {**FAKE, "PYTHONPATH": str(tmp_path), "ASR_ENGINE_OPTIONS": "beam_size=3"}
    done = run("doctor", env=env, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "OSError: wrong [/x] library" in done.stdout
    assert "ASR_ENGINE_OPTIONS" in done.stdout
    assert "packages" in done.stdout


def test_the_doctor_says_how_to_get_a_missing_model(tmp_path: Path) -> None:
    done = run("doctor", env={"VOICE_STACK_CACHE": str(tmp_path)}, cwd=tmp_path)
    assert done.returncode == 1
    assert "voice-stack models pull whisper-base" in done.stdout


def test_the_doctor_knows_a_chain_as_the_service_does(tmp_path: Path) -> None:
    text = '[chains]\nboth = ["fkae", "whisper/large", "openai/whisper-1"]\nnone = ["whisper-base", "fkae"]\n'
    (tmp_path / "models.toml").write_text(text, encoding="utf-8")
    env = {**FAKE, "VOICE_STACK_CACHE": str(tmp_path / "cache"), "ASR_PORT": "0", "TTS_PORT": "0"}
    for chain, status, marks in (("both", 0, ["ok", "note", "note"]), ("none", 1, ["problem", "problem"])):
        done = run("doctor", env={**env, "ASR_MODEL": chain}, cwd=tmp_path)
        lines = [line for line in done.stdout.splitlines() if line.startswith("asr model")]
        assert ([line.split()[2] for line in lines], done.returncode) == (marks, status), done.stdout
    assert "voice-stack models pull whisper-base" in done.stdout


def test_voices_are_listed(tmp_path: Path) -> None:
    done = run("voices", "list", env=FAKE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "voice" in done.stdout


def test_listing_voices_leaves_nothing_behind(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    done = run("voices", "list", env={**FAKE, "VOICE_STACK_TMP": str(spool)}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path for path in spool.glob("*") if path.is_dir()] == []


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_a_path_is_a_model_on_the_command_line(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "mine")
    spoken = run("speak", "Hello there.", "-o", "out.wav", "--local", "--model", "./mine", env=FAKE, cwd=tmp_path)
    assert spoken.returncode == 0, spoken.stderr
    heard = run("transcribe", "out.wav", "--local", "--model", str(tmp_path / "mine"), env=FAKE, cwd=tmp_path)
    assert heard.returncode == 0, heard.stderr
    assert heard.stdout.strip()


@pytest.mark.parametrize("command", [("speak", "Hello."), ("transcribe", "x.wav")], ids="".join)
def test_a_file_that_cannot_be_written_is_told_before_the_work(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"no audio: the work itself would fail otherwise")
    for output, reason in (("missing/out.wav", "does not exist"), (str(tmp_path), "folder")):
        done = run(*command, "-o", output, "--format", "text", "--local", env=FAKE, cwd=tmp_path)
        if command[0] == "speak":
            done = run(*command, "-o", output, "--format", "wav", "--local", env=FAKE, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("voice-stack: cannot write")
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [("speak", "Hello."), ("transcribe", "x.wav")], ids="".join)
def test_a_service_that_is_not_there_is_one_line(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"anything")
    output = "out.wav" if command[0] == "speak" else "out.txt"
    done = run(*command, "-o", output, "--url", "http://127.0.0.1:9", env=FAKE, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("voice-stack: the service at http://127.0.0.1:9 broke off")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / output).exists()


def test_a_transcript_is_the_same_from_a_service_and_without_one(fake_asr: Any, tmp_path: Path) -> None:
    assert run("speak", "Hello there.", "-o", "in.wav", "--local", env=FAKE, cwd=tmp_path).returncode == 0
    subtitles = run("transcribe", "in.wav", "-o", "out.srt", "--url", fake_asr.url, env=FAKE, cwd=tmp_path)
    assert subtitles.returncode == 0, subtitles.stderr
    assert (tmp_path / "out.srt").read_text(encoding="utf-8").startswith("1\n00:00:00,")
    (tmp_path / "out.srt").unlink()
    common = ("transcribe", "in.wav", "--words", "--format", "verbose_json")
    local = run(*common, "--local", "-o", "out.json", env=FAKE, cwd=tmp_path)
    remote = run(*common, "--url", fake_asr.url, env=FAKE, cwd=tmp_path)
    assert local.returncode == remote.returncode == 0, local.stderr + remote.stderr
    assert json.loads(remote.stdout) == json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert json.loads(remote.stdout)["language_probability"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"in.wav", "out.json"}


def test_the_language_of_the_settings_holds_on_the_command_line(tmp_path: Path) -> None:
    assert run("speak", "Hello there.", "-o", "in.wav", "--local", env=FAKE, cwd=tmp_path).returncode == 0
    command = ("transcribe", "in.wav", "--local", "--format", "verbose_json")
    for options, language in (((), "de"), (("--language", "fr"), "fr")):
        done = run(*command, *options, env={**FAKE, "ASR_LANGUAGE": "de"}, cwd=tmp_path)
        assert json.loads(done.stdout)["language_code"] == language


def test_transcribing_something_that_is_no_audio_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "x.mp3").write_text("no audio", encoding="utf-8")
    done = run("transcribe", "x.mp3", "--local", env=FAKE, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("voice-stack: ")
    assert "Traceback" not in done.stderr


def test_speaking_to_a_file_leaves_nothing_else(tmp_path: Path) -> None:
    done = run("speak", "Hello there.", "-o", "out.wav", "--local", env=FAKE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.wav"]
    broken = run("speak", "Hello.", "-o", "bad.wav", "--voice", "nobody", "--local", env=FAKE, cwd=tmp_path)
    assert broken.returncode == 1
    assert "voice" in broken.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.wav"]


def test_services_with_keys_open_to_the_command_line_that_has_one(start_service: Any, tmp_path: Path) -> None:
    env = {**FAKE, "API_KEYS": "the-key", "API_V1_STR": "/other"}
    asr, tts = start_service("asr", env), start_service("tts", env)
    spoken = run("speak", "Hello there.", "-o", "out.wav", "--url", tts.url, env=env, cwd=tmp_path)
    assert spoken.returncode == 0, spoken.stderr
    heard = run("transcribe", "out.wav", "--url", asr.url, env=env, cwd=tmp_path)
    assert heard.returncode == 0, heard.stderr
    assert heard.stdout.strip()
    refused = run("transcribe", "out.wav", "--url", asr.url, env={**env, "API_KEYS": ""}, cwd=tmp_path)
    assert refused.returncode == 1
    assert "API key" in refused.stderr
