from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import struct
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from utils.audio.decode import Limits, decode
from utils.audio.encode import FORMATS, Encoder, EncoderError
from utils.audio.pcm import INT16_SCALE, PcmFile, Samples

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_child_left")]
Children = Callable[[], list[int]]
Wait = Callable[..., Awaitable[int]]
RATE = 24_000
PADDED = {"mp3", "opus", "aac", "ogg"}  # codecs that work in frames and keep what is in front and behind


def tone(seconds: float, hertz: float = 440.0, rate: int = RATE) -> bytes:
    wave_form = 8000 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return wave_form.astype("<i2").tobytes()


async def encode(
    name: str, *pieces: bytes, rate: int = RATE, tempo: float = 1.0, total_frames: int | None = None
) -> bytes:
    encoder = await Encoder.open(FORMATS[name], sample_rate=rate, tempo=tempo, total_frames=total_frames)

    async def feed() -> None:
        for piece in pieces:
            await encoder.write(piece)
        await encoder.finish()

    try:
        feeding = asyncio.create_task(feed())
        data = b"".join([chunk async for chunk in encoder.chunks()])
        await feeding
    finally:
        await encoder.close()
    return data


async def decoded(data: bytes, folder: Path) -> PcmFile:
    source = folder / "encoded"
    source.write_bytes(data)
    return await decode(source, folder / "decoded", limits=Limits(timeout=60))


def peak_hz(samples: Samples, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


# ---------------------------------------------------------------- what other programs make of it


async def test_wav_of_unknown_length_is_a_clean_stream() -> None:
    data = await encode("wav", tone(1.0), tone(0.5))
    assert data[:44] == struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16, b"data", 0xFFFFFFFF),
    )
    assert data[44:] == tone(1.0) + tone(0.5)


@pytest.mark.parametrize("tempo", [1.0, 1.3])
async def test_wav_of_known_length_has_true_sizes(tempo: float) -> None:
    data = await encode("wav", tone(1.0), tone(0.5), total_frames=36_000, tempo=tempo)
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        assert file.getnframes() == round(36_000 / tempo)
        assert len(file.readframes(1 << 20)) == len(data) - 44
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8


async def test_pcm_is_the_samples() -> None:
    assert await encode("pcm", tone(1.0), tone(0.5)) == tone(1.0) + tone(0.5)


@pytest.mark.parametrize("name", ["mp3", "opus", "ogg", "flac"])
async def test_libsndfile_reads_it(name: str) -> None:
    data = await encode(name, tone(2.0), total_frames=48_000)
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == (48_000 if name in {"opus", "ogg"} else RATE)
    assert len(samples) / rate == pytest.approx(2.0, abs=0.12 if name in PADDED else 0)
    assert peak_hz(samples, rate) == pytest.approx(440, abs=1)
    assert np.abs(samples).max() == pytest.approx(8000 / INT16_SCALE, rel=0.1)


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"pcm"}))
async def test_ffmpeg_reads_all_of_it(name: str, tmp_path: Path) -> None:
    pieces = [tone(0.7), tone(1.0), tone(0.35)]
    pcm = await decoded(await encode(name, *pieces), tmp_path)
    assert pcm.duration == pytest.approx(2.05, abs=0.12 if name in PADDED else 0.05)
    assert peak_hz(pcm.read(), pcm.sample_rate) == pytest.approx(440, abs=1)
    loud = np.abs(pcm.read(pcm.frames - 3200, pcm.frames - 1600))
    assert loud.max() > 0.15, "the end is missing"


async def test_flac_is_lossless_and_its_header_complete() -> None:
    data = await encode("flac", tone(1.0), tone(0.5), total_frames=36_000)
    info = soundfile.info(io.BytesIO(data))
    assert (info.frames, info.samplerate, info.channels, info.subtype) == (36_000, RATE, 1, "PCM_16")
    samples, _ = soundfile.read(io.BytesIO(data), dtype="int16")
    assert samples.tobytes() == tone(1.0) + tone(0.5)


async def test_mp3_has_neither_tags_nor_an_index_and_can_be_joined(tmp_path: Path) -> None:
    first, second = await encode("mp3", tone(1.0)), await encode("mp3", tone(1.5, 660))
    for data in (first, second):
        assert data[:1] == b"\xff"
        assert not any(mark in data[:500] for mark in (b"Xing", b"Info", b"ID3", b"VBRI", b"Lavf"))
        assert b"TAG" not in data[-128:]
    lengths = [(await decoded(data, tmp_path)).duration for data in (first, second, first + second)]
    assert lengths[2] == pytest.approx(lengths[0] + lengths[1], abs=0.06)
    joined = await decoded(first + second, tmp_path)
    assert peak_hz(joined.read(0, 14_000), 16_000) == pytest.approx(440, abs=2)
    assert peak_hz(joined.read(joined.frames - 14_000), 16_000) == pytest.approx(660, abs=2)


async def test_opus_is_one_logical_stream_at_48_khz() -> None:
    data = await encode("opus", *[tone(0.5)] * 8)
    assert data.count(b"OpusHead") == data.count(b"OpusTags") == 1
    serials = {data[at + 14 : at + 18] for at in range(len(data)) if data.startswith(b"OggS\0", at)}
    assert len(serials) == 1


async def test_aac_is_adts_from_the_first_byte() -> None:
    data = await encode("aac", tone(1.0))
    assert data[0] == 0xFF
    assert data[1] & 0xF6 == 0xF0
    assert b"Lavf" not in data


@pytest.mark.parametrize("name", sorted(FORMATS))
async def test_same_samples_give_the_same_bytes_however_they_are_cut(name: str) -> None:
    whole = tone(1.3)
    one, other = await encode(name, whole), await encode(name, whole[:2], b"", whole[2:30_000], whole[30_000:])
    assert one == other


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("rate", [8000, 11_000, 22_050, 48_000])
async def test_any_rate_of_the_api(name: str, rate: int, tmp_path: Path) -> None:
    data = await encode(name, tone(1.0, rate=rate), rate=rate)
    if name == "pcm":
        assert len(data) == 2 * rate
    else:
        pcm = await decoded(data, tmp_path)
        assert pcm.duration == pytest.approx(1.0, abs=0.25 if rate < 16_000 else 0.12)
        assert peak_hz(pcm.read(), pcm.sample_rate) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("rate", [8000, 9000, 11_111, 24_000, 33_333, 48_000])
async def test_the_rate_that_is_told_is_that_of_the_file(rate: int) -> None:
    for name in ("mp3", "flac", "wav"):
        data = await encode(name, tone(0.5, rate=rate), rate=rate, total_frames=round(rate / 2))
        assert soundfile.info(io.BytesIO(data)).samplerate == FORMATS[name].sample_rate_at(rate), name
    aac = await encode("aac", tone(0.5, rate=rate), rate=rate)
    rates = [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350]
    assert rates[aac[2] >> 2 & 15] == FORMATS["aac"].sample_rate_at(rate)
    assert FORMATS["opus"].sample_rate_at(rate) == 48_000


@pytest.mark.parametrize("name", sorted(FORMATS))
async def test_no_samples_at_all_come_to_an_end(name: str) -> None:
    encoder = await Encoder.open(FORMATS[name], sample_rate=RATE)
    await encoder.finish()
    async with asyncio.timeout(20):
        try:
            data = b"".join([chunk async for chunk in encoder.chunks()])
        except EncoderError:
            data = b""
    await encoder.close()
    assert len(data) < 1000


def test_content_types() -> None:
    found = {name: entry.content_type_at(RATE) for name, entry in FORMATS.items()}
    assert found == {
        "mp3": "audio/mpeg",
        "opus": "audio/ogg; codecs=opus",
        "aac": "audio/aac",
        "flac": "audio/flac",
        "wav": "audio/wav",
        "pcm": "audio/pcm;rate=24000;channels=1;bits=16",
        "ogg": "audio/ogg",
    }
    assert all(entry.name == name and entry.extension == name for name, entry in FORMATS.items())


# ---------------------------------------------------------------- tempo


@pytest.mark.parametrize("tempo", [0.25, 0.7, 1.25, 2.0, 4.0])
@pytest.mark.parametrize("name", ["pcm", "wav", "mp3", "flac"])
async def test_tempo_changes_the_length_and_not_the_pitch(name: str, tempo: float, tmp_path: Path) -> None:
    data = await encode(name, tone(4.0), tempo=tempo)
    if name == "pcm":
        samples, rate = np.frombuffer(data, "<i2").astype(np.float32), RATE
    else:
        pcm = await decoded(data, tmp_path)
        samples, rate = pcm.read(), pcm.sample_rate
    slack = 0.12 if name in PADDED else 0
    assert len(samples) / rate == pytest.approx(4.0 / tempo, rel=0.02, abs=slack or None)
    assert peak_hz(samples, rate) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("tempo", [0.3, 0.9, 1.7, 3.3])
@pytest.mark.parametrize("frames", [1, 1000, 100_001])
async def test_announced_length_is_kept_to_the_sample_at_any_tempo(tempo: float, frames: int) -> None:
    pcm = tone(frames / RATE)
    assert len(pcm) == 2 * frames
    data = await encode("pcm", pcm, tempo=tempo, total_frames=frames)
    assert len(data) == 2 * round(frames / tempo)


@pytest.mark.parametrize("tempo", [0.3, 1.7, 4.0])
@pytest.mark.parametrize("seconds", [0.05, 0.3])
@pytest.mark.parametrize("name", ["pcm", "wav", "mp3", "flac"])
async def test_a_short_stretched_stream_is_heard_to_its_end(
    name: str, seconds: float, tempo: float, tmp_path: Path
) -> None:
    data = await encode(name, tone(seconds, rate=8000), rate=8000, tempo=tempo)
    expected = round(seconds * 8000) // tempo
    if name == "pcm":
        samples = np.frombuffer(data, "<i2") / INT16_SCALE
    else:
        pcm = await decoded(data, tmp_path)
        samples, expected = pcm.read(), expected / 8000 * pcm.sample_rate
    if name in {"pcm", "wav"}:
        assert len(samples) == pytest.approx(expected, abs=2)
    assert len(samples) >= expected - 2
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    assert loud.size, "it is silent"
    assert loud[-1] >= 0.5 * expected


@pytest.mark.parametrize("tempo", [0, -1, float("nan"), float("inf")])
async def test_impossible_tempo(tempo: float) -> None:
    with pytest.raises(ValueError, match="tempo"):
        await Encoder.open(FORMATS["mp3"], sample_rate=RATE, tempo=tempo)


# ---------------------------------------------------------------- processes, slow readers, faults


async def test_samples_that_are_not_changed_need_no_child(children: Children) -> None:
    for name in ("wav", "pcm"):
        encoder = await Encoder.open(FORMATS[name], sample_rate=RATE)
        await encoder.write(tone(0.1))
        assert children() == []
        await encoder.close()


async def test_one_child_for_a_whole_answer(children: Children) -> None:
    encoder = await Encoder.open(FORMATS["mp3"], sample_rate=RATE)
    (child,) = children()
    for _ in range(5):
        await encoder.write(tone(0.5))
    assert children() == [child]
    await encoder.close()


@pytest.mark.parametrize("name", sorted(FORMATS))
async def test_sound_comes_out_before_the_end(name: str) -> None:
    encoder = await Encoder.open(FORMATS[name], sample_rate=RATE)
    await encoder.write(tone(1.0))
    size = 0
    async with asyncio.timeout(20):  # for ever, if ffmpeg waited for more
        async for chunk in encoder.chunks():
            size += len(chunk)
            if size > 2000:
                break
    await encoder.close()


@pytest.mark.parametrize("name", ["wav", "flac", "pcm"])
async def test_writer_waits_for_a_slow_reader(name: str) -> None:
    encoder = await Encoder.open(FORMATS[name], sample_rate=RATE)
    noise = np.random.default_rng(1).integers(-9000, 9000, RATE, dtype="<i2").tobytes()
    written = 0

    async def feed() -> None:
        nonlocal written
        for _ in range(200):  # 9.6 MB, which no buffer on the way holds
            await encoder.write(noise)
            written += 1
        await encoder.finish()

    feeding = asyncio.create_task(feed())
    await asyncio.wait([feeding], timeout=1)
    assert not feeding.done()
    assert written < 150
    size = sum([len(chunk) async for chunk in encoder.chunks()])
    await feeding
    assert size > 200 * len(noise) * 0.8
    await encoder.close()


@pytest.mark.parametrize("name", ["mp3", "flac", "opus"])
async def test_death_of_the_child_is_an_error_for_both_sides(name: str, first_child: Wait) -> None:
    encoder = await Encoder.open(FORMATS[name], sample_rate=RATE)
    await encoder.write(tone(1.0))
    os.kill(await first_child(), signal.SIGKILL)
    with pytest.raises(EncoderError, match="status -9"):
        async for _ in encoder.chunks():
            pass
    with pytest.raises(EncoderError):
        await encoder.write(tone(60.0))
    await encoder.close()


@pytest.mark.parametrize("name", ["mp3", "wav"])
async def test_closing_in_the_middle_frees_writer_and_reader(name: str, children: Children) -> None:
    encoder = await Encoder.open(FORMATS[name], sample_rate=RATE)

    async def feed() -> None:
        while True:
            await encoder.write(tone(10.0))

    async def read() -> None:
        async for _ in encoder.chunks():
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(feed()), asyncio.create_task(read())]
    await asyncio.sleep(0.2)
    await encoder.close()
    await encoder.close()
    assert children() == []
    async with asyncio.timeout(10):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [EncoderError, EncoderError]


@pytest.mark.parametrize("name", ["flac", "pcm"])
async def test_closing_frees_a_writer_that_nobody_reads(name: str) -> None:
    encoder = await Encoder.open(FORMATS[name], sample_rate=RATE)
    noise = np.random.default_rng(1).integers(-9000, 9000, 10 * RATE, dtype="<i2").tobytes()

    async def feed() -> None:
        while True:
            await encoder.write(noise)

    feeding = asyncio.create_task(feed())
    await asyncio.wait([feeding], timeout=0.5)
    assert not feeding.done()
    await encoder.close()
    async with asyncio.timeout(10):
        with pytest.raises(EncoderError):
            await feeding


async def test_cancelling_the_start_leaves_no_child(children: Children) -> None:
    for delay in (0, 0.0005, 0.001, 0.002, 0.004, 0.008):
        task = asyncio.create_task(Encoder.open(FORMATS["mp3"], sample_rate=RATE))
        await asyncio.sleep(delay)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await task).close()
        assert children() == []


async def test_other_number_of_samples_than_announced() -> None:
    for name in ("wav", "flac"):
        encoder = await Encoder.open(FORMATS[name], sample_rate=RATE, total_frames=RATE)
        await encoder.write(tone(0.5))
        with pytest.raises(EncoderError, match="announced"):
            await encoder.finish()
        await encoder.close()


async def test_half_a_sample() -> None:
    encoder = await Encoder.open(FORMATS["pcm"], sample_rate=RATE)
    with pytest.raises(ValueError, match="half"):
        await encoder.write(b"abc")
    await encoder.close()


async def test_many_answers_at_once() -> None:
    done = await asyncio.gather(*(encode("mp3", tone(1.0), tone(1.0)) for _ in range(6)))
    assert len(set(done)) == 1
