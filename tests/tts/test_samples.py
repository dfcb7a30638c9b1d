"""What becomes of a recording before a voice is cloned from it."""

from __future__ import annotations

import subprocess
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from core.errors import InvalidAudio, UnsupportedFormat, VoiceStackError
from tts.samples import SAMPLE_RATE, Sample, read_sample
from utils.audio import ffmpeg

pytestmark = pytest.mark.anyio
RATE = 16_000
Samples = npt.NDArray[np.float64]


def voice(seconds: float, peak: float = 0.3) -> Samples:
    """A hum that comes and goes as syllables do."""
    times = np.arange(round(seconds * RATE)) / RATE
    tone: Samples = np.sin(2 * np.pi * 180 * times) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * times))
    return tone * peak


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE))


def write(folder: Path, *parts: Samples, name: str = "upload-0", channels: int = 1) -> Path:
    path = folder / name
    data = np.rint(np.clip(np.concatenate(parts), -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.repeat(data, channels).tobytes())
    return path


def convert(source: Path, name: str, *options: str) -> Path:
    target = source.with_name(name)
    subprocess.run([ffmpeg.executable(), "-v", "error", "-i", source, *options, target], check=True)
    return target


async def refused(source: Path, folder: Path) -> VoiceStackError:
    with pytest.raises(VoiceStackError) as caught:
        await read_sample(source, folder / "sample.wav", param="audio_sample")
    assert not list(folder.glob("sample*")), "nothing may be left"
    assert caught.value.status == 400
    assert caught.value.param == "audio_sample"
    return caught.value


def heard(sample: Sample) -> npt.NDArray[np.float64]:
    with wave.open(str(sample.path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SAMPLE_RATE)
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    assert len(data) / SAMPLE_RATE == pytest.approx(sample.seconds)
    return data


@pytest.mark.parametrize("peak", [0.02, 0.3, 0.95])
async def test_every_recording_comes_out_at_one_level_without_its_silent_ends(tmp_path: Path, peak: float) -> None:
    source = write(tmp_path, silence(2), voice(5, peak), silence(3))
    data = heard(await read_sample(source, tmp_path / "sample.wav"))
    assert len(data) / SAMPLE_RATE == pytest.approx(5.3, abs=0.1)
    assert np.sqrt(np.mean(data**2)) == pytest.approx(0.1, rel=0.1)
    assert np.abs(data).max() <= 0.9


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp3", ()),
        ("a.ogg", ()),
        ("a.flac", ()),
        ("a.webm", ("-c:a", "libopus")),
        ("a.mp4", ()),
        ("a.aac", ()),
        ("a.wav", ("-c:a", "pcm_f32le", "-ar", "44100")),
    ],
)
async def test_every_kind_of_file_is_read(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    source = convert(write(tmp_path, voice(4), channels=2, name="made.wav"), name, *options)
    sample = await read_sample(source, tmp_path / "sample.wav")
    assert sample.seconds == pytest.approx(4, abs=0.15)
    heard(sample)


async def test_what_is_too_short_or_too_long(tmp_path: Path) -> None:
    assert "at least 3" in (await refused(write(tmp_path, voice(2.9)), tmp_path)).message
    assert "longer than 60" in (await refused(write(tmp_path, voice(60.5)), tmp_path)).message
    assert (await read_sample(write(tmp_path, voice(3)), tmp_path / "short.wav")).seconds >= 2.98
    assert (await read_sample(write(tmp_path, voice(60)), tmp_path / "long.wav")).seconds <= 60


async def test_what_holds_no_voice(tmp_path: Path) -> None:
    assert "silent" in (await refused(write(tmp_path, silence(5)), tmp_path)).message
    noise = np.random.default_rng(1).normal(0, 0.0005, 5 * RATE)
    assert "silent" in (await refused(write(tmp_path, noise), tmp_path)).message
    assert "silence" in (await refused(write(tmp_path, silence(4), voice(0.5)), tmp_path)).message


async def test_what_is_clipped(tmp_path: Path) -> None:
    clipped = write(tmp_path, voice(5, peak=3.0))
    assert "clipped" in (await refused(clipped, tmp_path)).message
    assert "clipped" in (await refused(convert(clipped, "clipped.flac", "-ar", "48000"), tmp_path)).message


async def test_real_speech_is_taken_and_the_same_overdriven_is_not(tmp_path: Path, speech_data: Path) -> None:
    speech = speech_data / "en" / "jfk.flac"
    assert (await read_sample(speech, tmp_path / "good.wav")).seconds > 9
    source = tmp_path / "made.flac"
    source.write_bytes(speech.read_bytes())
    for name in ("loud.wav", "loud.mp3"):
        assert "clipped" in (await refused(convert(source, name, "-af", "volume=18dB"), tmp_path)).message


async def test_what_is_no_recording(tmp_path: Path) -> None:
    source = tmp_path / "upload-0"
    source.write_bytes(b"")
    assert isinstance(await refused(source, tmp_path), InvalidAudio)
    source.write_bytes(b"#!/bin/sh\necho hello\n" * 100)
    assert isinstance(await refused(source, tmp_path), UnsupportedFormat)
    source.write_bytes(b"fLaC" + b"\0" * 4000)
    assert isinstance(await refused(source, tmp_path), InvalidAudio)
