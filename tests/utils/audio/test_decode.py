from __future__ import annotations

import asyncio
import csv
import struct
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from utils.audio import wav
from utils.audio.decode import Limits, MediaError, decode, to_pcm
from utils.audio.pcm import PcmFile

Make = Callable[..., Path]
Refused = Callable[..., Awaitable[str]]
Run = Callable[..., None]

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_child_left")]
LIMITS = Limits(timeout=60)


def write(folder: Path, data: bytes) -> Path:
    path = folder / "upload-1"
    path.write_bytes(data)
    return path


def peak_hz(pcm: PcmFile) -> float:
    samples = pcm.read()
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * pcm.sample_rate / len(samples))


# ffmpeg plays the sound only, which may be shorter than the picture or start after it; mp3 without its padding.
OTHER_DURATIONS = {"video_jfk.mp4": 11.0, "video_2audio.mkv": 53.28, "video_conv2.mkv": 119.04}


async def test_every_container_of_the_samples(speech_data: Path, target: Path, refused: Refused) -> None:
    with (speech_data / "MANIFEST.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["path"].startswith("containers/")]
    assert len(rows) > 10
    for row in rows:
        source = speech_data / row["path"]
        if source.suffix == ".raw":
            assert await refused(source) == "unsupported"
            continue
        pcm = await decode(source, target, limits=LIMITS)
        expected = OTHER_DURATIONS.get(source.name, float(row["duration_s"]))
        assert pcm.duration == pytest.approx(expected, abs=0.2), source.name
        assert (pcm.sample_rate, pcm.channels, pcm.offset) == (16_000, 1, 0)
        assert target.stat().st_size == pcm.frames * 2
        assert np.abs(pcm.read()).max() > 0.05, source.name


@pytest.mark.parametrize(
    "name", ["en/jfk.mp3", "en/jfk.flac", "en/jfk_441khz.m4a", "telephone/whatstheweatherlike-mulaw.wav"]
)
async def test_real_recordings(speech_data: Path, target: Path, name: str) -> None:
    pcm = await decode(speech_data / name, target, limits=LIMITS)
    assert pcm.duration == pytest.approx(11.0 if "jfk" in name else 2.03, abs=0.2)
    assert np.abs(pcm.read()).max() > 0.05


async def test_tracks_are_counted_from_zero(speech_data: Path, target: Path, tmp_path: Path, refused: Refused) -> None:
    source = speech_data / "containers/video_2audio.mkv"
    english = await decode(source, target, limits=LIMITS)
    german = await decode(source, tmp_path / "de", limits=LIMITS, audio_track=1)
    assert not np.array_equal(english.read(0, 160_000), german.read(0, 160_000))
    with pytest.raises(MediaError, match="no audio track 2; it has 2, counted from 0"):
        await decode(source, tmp_path / "none", limits=LIMITS, audio_track=2)


ENCODINGS = {
    "t24.wav": ["-c:a", "pcm_s24le"],
    "float.wav": ["-c:a", "pcm_f32le"],
    "big.wav": ["-rf64", "always"],
    "t.w64": [],
    "t.flac": [],
    "t.mp3": ["-c:a", "libmp3lame"],
    "t.mp2": ["-c:a", "mp2"],
    "vorbis.ogg": ["-c:a", "libvorbis"],
    "t.opus": ["-c:a", "libopus"],
    "t.m4a": ["-c:a", "aac"],
    "faststart.m4a": ["-c:a", "aac", "-movflags", "+faststart"],
    "fragmented.mp4": ["-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov"],
    "t.mov": ["-c:a", "pcm_s16be"],
    "t.3gp": ["-c:a", "aac"],
    "t.aac": ["-c:a", "aac"],
    "t.ts": ["-c:a", "aac"],
    "t.m2ts": ["-c:a", "aac"],
    "t.mpg": ["-c:a", "mp2"],
    "t.avi": ["-c:a", "mp2"],
    "t.wma": ["-c:a", "wmav2"],
    "t.flv": ["-c:a", "aac"],
    "t.au": [],
    "t.aiff": [],
    "t.caf": ["-c:a", "pcm_s16be"],
    "t.mka": ["-c:a", "flac"],
    "t.webm": ["-c:a", "libopus"],
    "t.amr": ["-ar", "8000", "-c:a", "libopencore_amrnb"],
}


@pytest.mark.parametrize("name", ENCODINGS)
async def test_containers_that_people_send(make_tone: Make, target: Path, tmp_path: Path, name: str) -> None:
    try:
        made = make_tone(name, 2.0, *ENCODINGS[name])
    except subprocess.CalledProcessError as error:
        if b"Unknown encoder" not in error.stderr:
            raise
        pytest.skip("this ffmpeg has no such encoder")
    source = made.rename(tmp_path / "upload")  # the name says nothing
    pcm = await decode(source, target, limits=LIMITS)
    assert pcm.duration == pytest.approx(2.0, abs=0.15)
    assert peak_hz(pcm) == pytest.approx(440, abs=2)


async def test_other_sample_rate(make_tone: Make, target: Path) -> None:
    pcm = await decode(make_tone("in.flac", 1.0), target, limits=LIMITS, sample_rate=24_000)
    assert (pcm.sample_rate, pcm.frames) == (24_000, 24_000)


async def test_mp3_behind_rubbish(make_tone: Make, target: Path, tmp_path: Path) -> None:
    data = make_tone("in.mp3", 2.0, "-c:a", "libmp3lame", "-id3v2_version", "0").read_bytes()
    pcm = await decode(write(tmp_path, bytes(300) + data), target, limits=LIMITS)
    assert pcm.duration == pytest.approx(2.0, abs=0.2)


async def test_not_a_number_comes_out_finite(tmp_path: Path, target: Path) -> None:
    samples = np.sin(np.arange(32_000) / 10).astype("<f4")
    samples[1000:1100] = np.nan
    samples[5000] = np.inf
    samples[5001] = -np.inf
    form = struct.pack("<HHIIHH", 3, 1, 16_000, 64_000, 4, 32)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", 128_000) + samples.tobytes()
    source = write(tmp_path, b"RIFF" + struct.pack("<I", len(body)) + body)
    pcm = await decode(source, target, limits=LIMITS)
    assert pcm.frames == 32_000
    assert np.isfinite(pcm.read()).all()
    assert np.abs(pcm.read(10_000)).max() > 0.5


@pytest.mark.parametrize("options", [["-c:a", "pcm_s16le"], ["-c:a", "pcm_s24le"]], ids=["in-place", "decoded"])
async def test_channels_that_cancel_each_other_out_give_the_left_one(
    make_tone: Make, target: Path, options: list[str]
) -> None:
    source = make_tone("in.wav", 2.0, "-af", "pan=stereo|c0=c0|c1=-1*c0", *options)
    pcm = await to_pcm(source, target, limits=LIMITS)
    assert pcm.duration == pytest.approx(2.0, abs=0.01)
    assert np.abs(pcm.read()).max() > 0.1
    assert peak_hz(pcm) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("options", [["-c:a", "pcm_s16le"], ["-c:a", "pcm_s24le"]], ids=["in-place", "decoded"])
async def test_channels_can_be_kept(make_tone: Make, target: Path, options: list[str]) -> None:
    source = make_tone("in.wav", 2.0, "-af", "pan=stereo|c0=c0|c1=-0.5*c0", *options)
    pcm = await to_pcm(source, target, limits=LIMITS, channels=2)
    assert pcm.channels == 2
    assert pcm.duration == pytest.approx(2.0, abs=0.01)
    left, right = pcm.read(channel=0), pcm.read(channel=1)
    assert np.abs(left).max() > 0.1
    np.testing.assert_allclose(right, -0.5 * left, atol=2e-3)


async def test_two_channels_that_cancel_each_other_out_are_kept(make_tone: Make, target: Path) -> None:
    source = make_tone("in.wav", 2.0, "-af", "pan=stereo|c0=c0|c1=-1*c0")
    pcm = await to_pcm(source, target, limits=LIMITS, channels=2)
    assert pcm.path == source
    assert np.abs(pcm.read(channel=1)).max() > 0.1


async def test_a_mono_track_gives_two_channels_that_are_the_same(make_tone: Make, target: Path) -> None:
    pcm = await to_pcm(make_tone("in.flac", 2.0), target, limits=LIMITS, channels=2)
    assert (pcm.channels, pcm.frames) == (2, 32_000)
    np.testing.assert_array_equal(pcm.read(channel=0), pcm.read(channel=1))


async def test_stereo_silence_is_silence(run_ffmpeg: Run, tmp_path: Path, target: Path) -> None:
    source = tmp_path / "in.flac"
    run_ffmpeg("-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo", "-t", "3", source)
    pcm = await decode(source, target, limits=LIMITS)
    assert pcm.frames == 48_000
    assert not pcm.read().any()


async def test_silence_of_a_gap_in_the_timestamps_is_not_invented(
    make_tone: Make, run_ffmpeg: Run, tmp_path: Path, target: Path
) -> None:
    source = tmp_path / "gap.mka"
    late = "setts=pts=PTS+if(gte(N\\,12)\\,3600/TB\\,0):dts=DTS+if(gte(N\\,12)\\,3600/TB\\,0)"
    run_ffmpeg("-i", make_tone("in.flac", 2.0), "-c", "copy", "-bsf:a", late, source)
    pcm = await decode(source, target, limits=Limits(timeout=60, max_seconds=10))
    assert pcm.duration == pytest.approx(2.0, abs=0.1)


async def test_target_folder_must_exist(make_tone: Make, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await decode(make_tone("in.flac", 1.0), tmp_path / "none" / "target", limits=LIMITS)


async def test_many_at_once(make_tone: Make, tmp_path: Path) -> None:
    source = make_tone("in.flac", 2.0)
    done = await asyncio.gather(*(decode(source, tmp_path / f"{n}.pcm", limits=LIMITS) for n in range(6)))
    assert len({pcm.path.read_bytes() for pcm in done}) == 1


async def test_plain_wav_stays_where_it_is(make_tone: Make, target: Path) -> None:
    source = make_tone("in.wav", 2.0, "-ac", "2")
    pcm = await to_pcm(source, target, limits=LIMITS)
    assert (pcm.path, pcm.sample_rate, pcm.channels, pcm.frames) == (source, 48_000, 2, 96_000)
    assert not target.exists()


async def test_other_wav_is_decoded(make_tone: Make, target: Path) -> None:
    pcm = await to_pcm(make_tone("in.wav", 2.0, "-c:a", "pcm_s24le"), target, limits=LIMITS)
    assert (pcm.path, pcm.sample_rate, pcm.frames) == (target, 16_000, 32_000)


@pytest.mark.parametrize(
    ("data", "limits", "reason"),
    [
        (wav.header(16_000, frames=0), LIMITS, "empty"),
        (b"", LIMITS, "empty"),
        (wav.header(16_000, frames=32_001) + bytes(64_002), Limits(max_seconds=2), "too_long"),
    ],
)
async def test_plain_wav_that_is_refused(
    tmp_path: Path, target: Path, data: bytes, limits: Limits, reason: str
) -> None:
    with pytest.raises(MediaError) as caught:
        await to_pcm(write(tmp_path, data), target, limits=limits)
    assert caught.value.reason == reason
    assert not target.exists()


async def test_second_track_of_a_wav_is_none(make_tone: Make, target: Path) -> None:
    with pytest.raises(MediaError, match="no audio track 1; it has 1,") as caught:
        await to_pcm(make_tone("in.wav", 1.0), target, limits=LIMITS, audio_track=1)
    assert caught.value.reason == "no_track"


async def test_a_picture_has_no_audio(tmp_path: Path, target: Path) -> None:
    with pytest.raises(MediaError, match=r"^The file has no audio\.$"):
        await to_pcm(write(tmp_path, b"\x89PNG\r\n\x1a\n"), target, limits=LIMITS)


@pytest.mark.parametrize(("name", "options"), [("four.flac", ()), ("four.wav", ("-c:a", "pcm_s24le"))])
async def test_all_channels_of_a_track_can_be_kept(
    tmp_path: Path, target: Path, run_ffmpeg: Run, name: str, options: tuple[str, ...]
) -> None:
    tones = [f"sine=frequency={hertz}:sample_rate=48000:duration=2" for hertz in (300, 500, 700, 900)]
    inputs = [part for tone in tones for part in ("-f", "lavfi", "-i", tone)]
    run_ffmpeg(*inputs, "-filter_complex", "amerge=inputs=4", *options, tmp_path / name)
    pcm = await to_pcm(tmp_path / name, target, limits=LIMITS, channels=None)
    assert (pcm.channels, pcm.sample_rate) == (4, 16_000)
    assert pcm.duration == pytest.approx(2.0, abs=0.1)
    assert target.stat().st_size == pcm.frames * 4 * 2
    spectra = [np.abs(np.fft.rfft(pcm.read(0, 16_000, channel=channel))) for channel in range(4)]
    assert [int(np.argmax(spectrum)) for spectrum in spectra] == [300, 500, 700, 900]


async def test_all_channels_of_a_mono_track_are_one(make_tone: Make, target: Path) -> None:
    pcm = await decode(make_tone("mono.flac", 1.0, "-ac", "1"), target, limits=LIMITS, channels=None)
    assert (pcm.channels, pcm.frames) == (1, 16_000)
