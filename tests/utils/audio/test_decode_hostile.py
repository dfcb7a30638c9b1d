"""Files that must be refused, and that must not make the decoder open anything else."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from utils.audio import wav
from utils.audio.decode import Limits, MediaError, decode

Make = Callable[..., Path]
Refused = Callable[..., Awaitable[str]]
Run = Callable[..., None]

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_child_left")]
LIMITS = Limits(timeout=60)


def write(folder: Path, data: bytes) -> Path:
    path = folder / "upload-1"
    path.write_bytes(data)
    return path


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A pipe: whoever opens it to read waits, and a writer that does not wait is told whether somebody has."""
    path = tmp_path / "canary.wav"
    os.mkfifo(path)
    yield path
    with pytest.raises(OSError, match=r"No such device or address|not configured"):
        os.open(path, os.O_WRONLY | os.O_NONBLOCK)


@pytest.fixture
def trap() -> Iterator[int]:
    """The port of a server that nobody must connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server.getsockname()[1]
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.fixture
def baits(canary: Path, trap: int) -> dict[str, str]:
    """What the hostile files point at."""
    return {"path": str(canary), "port": str(trap)}


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{uri}\n#EXT-X-ENDLIST\n"
HOSTILE = {
    "hls-file-url": HLS.format(uri="file://{path}"),
    "hls-path": HLS.format(uri="{path}"),
    "hls-http": HLS.format(uri="http://127.0.0.1:{port}/a.ts"),
    "hls-concat": HLS.format(uri="concat:{path}|{path}"),
    "hls-subfile": HLS.format(uri="subfile,,start,0,end,1000,,:{path}"),
    "hls-data": HLS.format(uri="data:audio/wav;base64,UklGRiQAAABXQVZF"),
    "ffconcat-relative": "ffconcat version 1.0\nfile 'canary.wav'\n",
    "ffconcat-absolute": "ffconcat version 1.0\nfile '{path}'\n",
    "ffconcat-http": "ffconcat version 1.0\nfile 'http://127.0.0.1:{port}/a.wav'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="isoff-main:2011" '
    'type="static"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>http://127.0.0.1:{port}/a.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "m3u": "{path}\n",
    "pls": "[playlist]\nFile1={path}\nNumberOfEntries=1\n",
    "xspf": '<playlist version="1" xmlns="http://xspf.org/ns/0/"><trackList><track><location>{path}</location>'
    "</track></trackList></playlist>",
    "smil": '<smil><body><audio src="http://127.0.0.1:{port}/a.mp3"/></body></smil>',
    "rtsptext": "RTSPtext\nrtsp://127.0.0.1:{port}/a\n",
    "ism": '<SmoothStreamingMedia MajorVersion="2"><StreamIndex Type="audio" Url="{path}"/></SmoothStreamingMedia>',
    "vobsub": "# VobSub index file, v7\nid: en, index: 0\ntimestamp: 00:00:01:000, filepos: 000000000\n",
}


# The two bytes look like MPEG audio, so that the file gets past our own look and ffmpeg's list has to refuse it.
@pytest.mark.parametrize("tail", [b"", b"\n#\xff\xfb\n"], ids=["plain", "past-the-sniffer"])
@pytest.mark.parametrize("name", HOSTILE)
async def test_playlists_open_nothing(
    tmp_path: Path, baits: dict[str, str], name: str, tail: bytes, refused: Refused
) -> None:
    text = HOSTILE[name].replace("{path}", baits["path"]).replace("{port}", baits["port"])
    source = write(tmp_path, text.encode() + tail)
    reason = await refused(source, Limits(timeout=10))
    assert reason == "unsupported" if not tail else reason in {"unsupported", "undecodable"}


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, this is no audio\n" * 100, "unsupported"),
        ("Grüße".encode("utf-16") * 100, "unsupported"),
        (b"<!doctype html><html></html>", "unsupported"),
        (b'{"file": "x"}', "unsupported"),
        (b"%PDF-1.7\n\xff\xfb" + bytes(100), "unsupported"),
        (b"\x7fELF\x02\x01\x01\xff\xfb" + bytes(100), "unsupported"),
        (b"PK\x03\x04\xff\xfb" + bytes(100), "unsupported"),
        (b"\x1f\x8b\x08\xff\xfb" + bytes(100), "unsupported"),
        (b"MThd\0\0\0\6\0\1\0\1\0\x60", "unsupported"),
        (bytes(10_000), "unsupported"),
        (PNG, "no_audio"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(100), "no_audio"),
        (b"GIF89a" + bytes(100), "no_audio"),
        (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(100), "no_audio"),
    ],
)
async def test_no_media_is_refused(tmp_path: Path, data: bytes, reason: str, refused: Refused) -> None:
    # A limit that would end any child at once: none is started.
    assert await refused(write(tmp_path, data), Limits(timeout=0)) == reason


async def test_random_bytes_are_refused(tmp_path: Path, refused: Refused) -> None:
    source = write(tmp_path, random.Random(7).randbytes(1_000_000))
    assert await refused(source) in {"unsupported", "undecodable"}


@pytest.mark.parametrize("name", ["t.mp4", "t.mkv"])
async def test_video_without_sound(run_ffmpeg: Run, tmp_path: Path, name: str, refused: Refused) -> None:
    source = tmp_path / name
    run_ffmpeg("-f", "lavfi", "-i", "color=s=64x64:d=1", "-c:v", "mpeg4", source)
    assert await refused(source) == "no_audio"


@pytest.mark.parametrize("name", ["t.m4a", "t.flac", "t.caf", "t.ogg"])
@pytest.mark.parametrize("length", [200, 20])
async def test_cut_off_file(make_tone: Make, tmp_path: Path, name: str, length: int, refused: Refused) -> None:
    whole = make_tone(name, 2.0).read_bytes()
    assert await refused(write(tmp_path, whole[:length])) in {"undecodable", "unsupported"}


async def test_m4a_cut_off_before_its_index(make_tone: Make, tmp_path: Path, refused: Refused) -> None:
    whole = make_tone("t.m4a", 5.0, "-c:a", "aac").read_bytes()
    assert await refused(write(tmp_path, whole[: len(whole) * 3 // 4])) == "undecodable"


async def test_flac_cut_off_at_5_kb(speech_data: Path, tmp_path: Path, refused: Refused) -> None:
    data = (speech_data / "en/jfk.flac").read_bytes()[:5000]
    assert await refused(write(tmp_path, data)) == "undecodable"


@pytest.mark.parametrize(
    ("channels", "rate", "bits"),
    [
        (1, 1, 16),
        (1, 3999, 16),
        (1, 655_350, 16),
        (9, 48_000, 16),
        (65_535, 48_000, 16),
        (1, 0, 16),
        (0, 16_000, 16),
        (1, 16_000, 0),
        (1, 16_000, 7),
        (1, 16_000, 64),
    ],
)
async def test_wav_of_an_impossible_shape(
    tmp_path: Path, channels: int, rate: int, bits: int, refused: Refused
) -> None:
    frame = channels * bits // 8 & 0xFFFF
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * frame & 0xFFFFFFFF, frame, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", 1 << 20) + bytes(1 << 20)
    source = write(tmp_path, b"RIFF" + struct.pack("<I", len(body)) + body)
    assert wav.probe(source) is None
    assert await refused(source) in {"unsupported", "undecodable"}


async def test_flac_with_a_forged_sample_rate(run_ffmpeg: Run, tmp_path: Path, refused: Refused) -> None:
    source = tmp_path / "forged.flac"
    run_ffmpeg("-f", "lavfi", "-i", "anullsrc=r=655350:cl=7.1", "-t", "20", "-c:a", "flac", source)
    assert await refused(source) == "unsupported"


async def test_more_channels_than_allowed(make_tone: Make, target: Path, refused: Refused) -> None:
    source = make_tone("t.wav", 1.0, "-ac", "8", "-c:a", "pcm_s24le")
    assert (await decode(source, target, limits=LIMITS)).duration == pytest.approx(1.0, abs=0.01)
    assert await refused(source, Limits(max_channels=6)) == "unsupported"


async def test_noisy_file_neither_blocks_nor_fills_memory(make_tone: Make, target: Path, tmp_path: Path) -> None:
    data = bytearray(make_tone("in.aac", 60.0, "-c:a", "aac", "-b:a", "64k").read_bytes())
    rnd = random.Random(3)
    at = 0
    while at + 7 < len(data):  # keep every frame's header, spoil what is behind it: an error line for each
        size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        data[at + 9 : at + size] = rnd.randbytes(max(0, len(data[at + 9 : at + size])))
        at += size
    # Whether something can be heard in it is up to ffmpeg; that it comes to an end is not.
    with contextlib.suppress(MediaError):
        await decode(write(tmp_path, bytes(data)), target, limits=LIMITS)
