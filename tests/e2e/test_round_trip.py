"""Our speech understood by our ears: real models behind real services."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from utils.audio import ffmpeg
from utils.text.wer import edits, word_error_rate, words

pytestmark = pytest.mark.e2e
SENTENCES = (
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well.",
    "Rice is often served in round bowls.",
    "The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck.",
    "Four hours of steady work faced us.",
    "A large size in stockings is hard to sell.",
    "The boy was there when the sun rose.",
    "A rod is used to catch pink salmon.",
)
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")


def speak(tts: Any, text: str, **more: Any) -> httpx.Response:
    answer = httpx.post(f"{tts.url}/v1/audio/speech", json={"input": text, **more}, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer


def hear(asr: Any, audio: bytes, **data: Any) -> str:
    answer = httpx.post(f"{asr.url}/v1/audio/transcriptions", files={"file": audio}, data=data, timeout=120)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


def samples(audio: bytes, audio_format: str) -> np.ndarray[Any, Any]:
    """Decode with somebody else's decoder to mono float at 24 kHz."""
    if audio_format == "pcm":
        return np.frombuffer(audio, "<i2") / 32768
    command = [ffmpeg.executable(), "-v", "error", "-i", "pipe:0", "-ac", "1", "-ar", "24000", "-f", "s16le", "pipe:1"]
    done = subprocess.run(command, input=audio, capture_output=True, check=True)
    return np.frombuffer(done.stdout, "<i2") / 32768


def test_ten_sentences_come_back(real_tts: Any, real_asr: Any) -> None:
    wrong = total = 0
    for sentence in SENTENCES:
        heard = hear(real_asr, speak(real_tts, sentence).content)
        wrong += edits(words(sentence), words(heard))
        total += len(words(sentence))
    assert wrong / total <= 0.1


@pytest.mark.parametrize("audio_format", FORMATS)
def test_every_format_is_speech_of_the_right_length(real_tts: Any, audio_format: str) -> None:
    reference = samples(speak(real_tts, SENTENCES[0], response_format="pcm").content, "pcm")
    found = samples(speak(real_tts, SENTENCES[0], response_format=audio_format).content, audio_format)
    assert abs(len(found) - len(reference)) / 24_000 < 0.15
    assert np.sqrt(np.mean(found**2)) > 0.01


def test_speed_changes_the_length_and_not_the_words(real_tts: Any, real_asr: Any) -> None:
    def duration(speed: float) -> float:
        audio = speak(real_tts, SENTENCES[1], speed=speed, response_format="wav").content
        assert word_error_rate(SENTENCES[1], hear(real_asr, audio)) <= 0.35
        return float(soundfile.info(io.BytesIO(audio)).duration)

    assert 0.5 < duration(1.5) / duration(1.0) < 0.85


def test_a_voice_may_be_chosen_and_must_exist(real_tts: Any) -> None:
    listed = httpx.get(f"{real_tts.url}/v1/audio/voices").json()["voices"]
    assert all({"id", "name"} <= set(voice) for voice in listed)
    last = speak(real_tts, "Hello there.", voice="af_heart")
    assert last.headers["x-voice-stack-voice"] == "af_heart"
    answer = httpx.post(f"{real_tts.url}/v1/audio/speech", json={"input": "Hello.", "voice": "nobody"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "voice_not_found"


@pytest.mark.skipif(find_spec("piper") is None, reason="piper-tts is not installed")
def test_a_voice_of_another_installed_model_brings_that_model(real_tts: Any, real_asr: Any) -> None:
    answer = speak(real_tts, SENTENCES[3], voice="en_US-joe-medium", model="tts-1")
    assert answer.headers["x-voice-stack-model"] == "piper-en_US-joe-medium"
    assert word_error_rate(SENTENCES[3], hear(real_asr, answer.content)) <= 0.3
    asked = {"input": "Hello.", "voice": "af_heart", "model": "piper-en_US-joe-medium"}
    refused = httpx.post(f"{real_tts.url}/v1/audio/speech", json=asked)
    assert refused.json()["error"]["code"] == "voice_not_found"


def test_real_recordings_are_transcribed(real_asr: Any, speech_data: Path) -> None:
    jfk = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
    for name in ("jfk.flac", "jfk.wav", "jfk.mp3", "jfk_441khz.m4a"):
        heard = hear(real_asr, (speech_data / "en" / name).read_bytes())
        assert word_error_rate(jfk, heard) <= 0.05, name


@pytest.mark.parametrize("name", ["p001.ogg", "p001.webm", "p001.mp4"])
def test_containers_are_told_by_their_content(real_asr: Any, speech_data: Path, name: str) -> None:
    heard = hear(real_asr, (speech_data / "containers" / name).read_bytes())
    assert "fairest creatures" in heard.lower()


@pytest.mark.parametrize("name", ["music_20s.flac", "silence_30s.wav", "whitenoise_15s.flac", "room_empty.wav"])
def test_no_speech_is_no_text(real_asr: Any, speech_data: Path, name: str) -> None:
    assert hear(real_asr, (speech_data / "nospeech" / name).read_bytes()) == ""


@pytest.mark.parametrize(("name", "language"), [("read_de.wav", "german"), ("read_fr.wav", "french")])
def test_the_language_is_detected_and_translated(real_asr: Any, speech_data: Path, name: str, language: str) -> None:
    audio = (speech_data / "multi" / name).read_bytes()
    answer = httpx.post(f"{real_asr.url}/v1/audio/transcriptions/verbose", files={"file": audio}, timeout=120).json()
    assert answer["language"] == language
    assert answer["language_probability"] > 0.5
    times = [word[key] for word in answer["words"] for key in ("start", "end")]
    assert times == sorted(times)
    assert times[-1] <= answer["duration"]
    english = httpx.post(f"{real_asr.url}/v1/audio/translations", files={"file": audio}, timeout=120).json()["text"]
    assert set(words(english)) & {"the", "of", "and", "was", "is"}


def test_the_command_line_works_without_services(speech_data: Path, tmp_path: Path) -> None:
    command = [shutil.which("voice-stack", path=str(Path(sys.executable).parent)) or "voice-stack", "transcribe"]
    file = str(speech_data / "en" / "jfk.flac")
    done = subprocess.run([*command, file, "--local"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "ask what you can do for your country" in done.stdout


def test_the_command_line_uses_running_services(real_asr: Any, real_tts: Any, tmp_path: Path) -> None:
    program = shutil.which("voice-stack", path=str(Path(sys.executable).parent)) or "voice-stack"
    out = tmp_path / "out.opus"
    speaking = [program, "speak", SENTENCES[2], "-o", str(out), "--url", real_tts.url]
    subprocess.run(speaking, check=True, cwd=tmp_path, capture_output=True)
    listening = [program, "transcribe", str(out), "--format", "srt", "--url", real_asr.url]
    done = subprocess.run(listening, check=True, cwd=tmp_path, capture_output=True, text=True)
    assert " --> " in done.stdout
    assert "depth of a well" in done.stdout.lower()
