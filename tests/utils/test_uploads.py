import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from utils.uploads import ArrivingFile, BodyTooLarge, read_file

pytestmark = pytest.mark.anyio


async def chunks(count: int, size: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"a" * size


@pytest.mark.parametrize(("count", "size"), [(0, 0), (1, 1), (50, 100_000)])
async def test_a_body_becomes_a_file(tmp_path: Path, count: int, size: int) -> None:
    arriving = ArrivingFile(tmp_path / "x", field="file", content_type="audio/wav")
    upload = await read_file(chunks(count, size), arriving, max_bytes=count * size)
    content = b"a" * (count * size)
    assert upload.path.read_bytes() == content
    assert (upload.size, upload.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (upload.field, upload.filename, upload.content_type) == ("file", "", "audio/wav")


async def test_a_body_that_is_too_large_is_left(tmp_path: Path) -> None:
    with pytest.raises(BodyTooLarge):
        await read_file(chunks(1 << 40, 1000), ArrivingFile(tmp_path / "x", field="file"), max_bytes=5_000_000)
    assert (tmp_path / "x").stat().st_size < 5_000_000


async def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    waiting = []
    arriving = ArrivingFile(tmp_path / "x", field="file")

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"a" * 65536
            waiting.append(len(arriving.buffer))

    assert (await read_file(body(), arriving, max_bytes=1 << 30)).size == 6_553_600
    assert max(waiting) < 2 << 20
