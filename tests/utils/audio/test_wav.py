from __future__ import annotations

import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.audio import wav

SAMPLES = np.arange(-500, 500, dtype="<i2")
PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def fmt(tag: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16, extra: bytes = b"") -> bytes:
    frame = (channels * bits // 8) & 0xFFFF
    fields = struct.pack("<HHIIHH", tag, channels & 0xFFFF, rate, (rate * frame) & 0xFFFFFFFF, frame, bits)
    return chunk(b"fmt ", fields + extra)


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def write(folder: Path, data: bytes) -> Path:
    path = folder / "in"
    path.write_bytes(data)
    return path


def test_file_of_the_standard_library_is_found_in_place(tmp_path: Path) -> None:
    path = tmp_path / "in"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(22_050)
        file.writeframes(SAMPLES.tobytes())
    found = wav.probe(path)
    assert found is not None
    assert (found.path, found.frames, found.sample_rate, found.channels, found.offset) == (path, 1000, 22_050, 1, 44)
    assert np.array_equal(np.rint(found.read() * 32768), SAMPLES)


def test_stereo_counts_frames_per_channel(tmp_path: Path) -> None:
    found = wav.probe(write(tmp_path, riff(fmt(channels=2), chunk(b"data", SAMPLES.tobytes()))))
    assert found is not None
    assert (found.frames, found.channels) == (500, 2)


def test_chunks_around_the_samples_are_passed_over(tmp_path: Path) -> None:
    data = riff(
        chunk(b"LIST", b"odd"),
        fmt(),
        chunk(b"bext", b"x" * 602),
        chunk(b"data", SAMPLES.tobytes()),
        chunk(b"LIST", b"x"),
    )
    found = wav.probe(write(tmp_path, data))
    assert found is not None
    assert np.array_equal(np.rint(found.read() * 32768), SAMPLES)


def test_extensible_pcm_is_plain_pcm(tmp_path: Path) -> None:
    extra = struct.pack("<HHI", 22, 16, 4) + PCM_GUID
    found = wav.probe(write(tmp_path, riff(fmt(tag=0xFFFE, extra=extra), chunk(b"data", SAMPLES.tobytes()))))
    assert found is not None
    assert found.frames == 1000


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFF0, 2_000_000])
def test_sizes_of_a_streamed_or_cut_file_give_the_real_length(tmp_path: Path, size: int) -> None:
    found = wav.probe(write(tmp_path, riff(fmt(), chunk(b"data", SAMPLES.tobytes(), size))))
    assert found is not None
    assert found.frames == 1000


def test_second_file_behind_the_first_is_not_read(tmp_path: Path) -> None:
    one = riff(fmt(), chunk(b"data", SAMPLES.tobytes()))
    found = wav.probe(write(tmp_path, one + one))
    assert found is not None
    assert found.frames == 1000


def test_header_without_samples_has_no_frames(tmp_path: Path) -> None:
    found = wav.probe(write(tmp_path, riff(fmt(), chunk(b"data", b""))))
    assert found is not None
    assert found.frames == 0
    assert len(found.read()) == 0


FLOAT_GUID = bytes.fromhex("0300000000001000800000aa00389b71")


@pytest.mark.parametrize(
    "head",
    [
        fmt(tag=3, bits=32),
        fmt(tag=7, bits=8),
        fmt(bits=8),
        fmt(bits=24),
        fmt(bits=0),
        fmt(bits=7),
        fmt(bits=64),
        fmt(channels=0),
        fmt(channels=9),
        fmt(channels=65_535),
        fmt(rate=0),
        fmt(rate=1),
        fmt(rate=4_000_000_000),
        fmt(tag=0xFFFE, extra=struct.pack("<HHI", 22, 16, 4) + FLOAT_GUID),
        fmt(tag=0xFFFE),
        chunk(b"fmt ", b"short"),
        b"",
    ],
)
def test_everything_else_is_left_to_ffmpeg(tmp_path: Path, head: bytes) -> None:
    assert wav.probe(write(tmp_path, riff(head, chunk(b"data", SAMPLES.tobytes())))) is None


def test_other_files_and_no_file_are_left_to_ffmpeg(tmp_path: Path) -> None:
    good = riff(fmt(), chunk(b"data", SAMPLES.tobytes()))
    assert wav.probe(write(tmp_path, b"")) is None
    assert wav.probe(write(tmp_path, b"RIFX" + good[4:])) is None
    assert wav.probe(write(tmp_path, riff(*[chunk(b"junk", b"")] * 5000, good[12:]))) is None
    assert wav.probe(tmp_path / "missing") is None
    assert wav.probe(tmp_path) is None


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(cut=st.integers(0, 80), at=st.integers(0, 79), byte=st.integers(0, 255), tail=st.binary(max_size=40))
def test_damaged_headers_never_raise_nor_reach_behind_the_file(
    tmp_path: Path, cut: int, at: int, byte: int, tail: bytes
) -> None:
    data = bytearray(riff(chunk(b"LIST", b"abcd"), fmt(), chunk(b"data", SAMPLES.tobytes())))
    data[at] = byte
    found = wav.probe(write(tmp_path, bytes(data[:cut]) + tail if cut < 80 else bytes(data)))
    if found is not None:
        size = found.path.stat().st_size
        assert found.offset + found.frames * found.channels * 2 <= size
        assert len(found.read()) == found.frames


@pytest.mark.parametrize("channels", [1, 2])
def test_header_is_read_by_the_standard_library(channels: int) -> None:
    data = wav.header(24_000, frames=1000 // channels, channels=channels) + SAMPLES.tobytes()
    with wave.open(io.BytesIO(data)) as file:
        shape = (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes())
        assert shape == (channels, 2, 24_000, 1000 // channels)
        assert file.readframes(1000) == SAMPLES.tobytes()
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8


@pytest.mark.parametrize("frames", [None, 1 << 31])
def test_unknown_length_is_all_ones(frames: int | None) -> None:
    data = wav.header(24_000, frames=frames)
    assert len(data) == 44
    assert data[4:8] == data[40:44] == b"\xff\xff\xff\xff"
    with wave.open(io.BytesIO(data + SAMPLES.tobytes())) as file:
        assert file.readframes(1000) == SAMPLES.tobytes()


def test_streamed_header_is_found_again(tmp_path: Path) -> None:
    found = wav.probe(write(tmp_path, wav.header(24_000, frames=None) + SAMPLES.tobytes()))
    assert found is not None
    assert (found.frames, found.sample_rate) == (1000, 24_000)


def test_real_recordings(speech_data: Path) -> None:
    plain = wav.probe(speech_data / "en/jfk.wav")
    assert plain is not None
    assert plain.duration == pytest.approx(11.0, abs=0.01)
    assert wav.probe(speech_data / "containers/audio-mono-24-bit-44100Hz.wav") is None
    assert wav.probe(speech_data / "telephone/whatstheweatherlike-mulaw.wav") is None
