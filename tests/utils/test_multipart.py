import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import httpx
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.multipart import BodyTooLarge, Form, MultipartError, read_form

pytestmark = pytest.mark.anyio

TYPE = "multipart/form-data; boundary=XX"
LARGE = 1 << 30


async def stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def sliced(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


async def read(
    body: bytes, directory: Path, content_type: str = TYPE, *, chunk: int = 65536, max_bytes: int = LARGE, **limits: int
) -> Form:
    return await read_form(stream(sliced(body, chunk)), content_type, directory, max_bytes=max_bytes, **limits)


def part(head: str, content: bytes = b"", *, boundary: str = "XX") -> bytes:
    return f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"


def field(name: str, value: bytes = b"v") -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', value)


END = b"--XX--\r\n"


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000, 65536])
@pytest.mark.parametrize("file_first", [True, False])
async def test_fields_and_files_arrive_whole_whatever_the_chunks_and_the_order(
    tmp_path: Path, chunk: int, file_first: bool
) -> None:
    audio = bytes(range(256)) * 20 + b"\r\n--X\r\n--XY\r\n-"
    file = part('Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav', audio)
    fields = field("model", b"whisper-1") + field("x[]", b"word") + field("x[]", b"segment") + field("empty", b"")
    body = (file + fields if file_first else fields + file) + END
    form = await read(body, tmp_path, chunk=chunk)
    assert form.fields == [("model", "whisper-1"), ("x[]", "word"), ("x[]", "segment"), ("empty", "")]
    (upload,) = form.files
    assert upload.path.read_bytes() == audio
    assert (upload.field, upload.filename, upload.content_type) == ("file", "a.wav", "audio/wav")
    assert (upload.size, upload.sha256) == (len(audio), hashlib.sha256(audio).hexdigest())


@pytest.mark.parametrize(
    "head",
    [
        'Content-Disposition: form-data; name="file"; filename=""',
        'Content-Disposition: form-data; name="file"; filename="audio_file"',
        "content-disposition:form-data;name=file;filename=a.wav",
        'Content-Disposition: form-data; name="file"\r\nContent-Type: application/octet-stream',
        "Content-Disposition: form-data; name=\"file\"; filename*=utf-8''%C3%A4.wav",
    ],
)
async def test_a_part_with_a_file_name_or_a_binary_type_is_a_file(tmp_path: Path, head: str) -> None:
    form = await read(part(head, b"\xff\x00") + END, tmp_path)
    assert form.fields == []
    assert [file.path.read_bytes() for file in form.files] == [b"\xff\x00"]


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "application/json"])
async def test_a_part_with_a_text_type_and_no_file_name_is_a_field(tmp_path: Path, kind: str) -> None:
    head = f'Content-Disposition: form-data; name="prompt"\r\nContent-Type: {kind}'
    assert (await read(part(head, "Ä".encode()) + END, tmp_path)).fields == [("prompt", "Ä")]


@pytest.mark.parametrize(
    "filename",
    ["../../etc/passwd", "/abs", "C:\\x.wav", "a;$(id).wav", "-i.wav", "%d.wav", "\u202egpj.wav", "n\x00l", "ü" * 900],
)
async def test_a_file_name_never_becomes_a_path(tmp_path: Path, filename: str) -> None:
    directory = tmp_path / "upload"
    directory.mkdir()
    head = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
    form = await read(part(head, b"x") * 2 + END, directory)
    assert {file.path.parent for file in form.files} == {directory}
    assert sorted(directory.iterdir()) == sorted(file.path for file in form.files)
    assert list(tmp_path.iterdir()) == [directory]


async def test_an_empty_file_is_there_and_empty(tmp_path: Path) -> None:
    form = await read(part('Content-Disposition: form-data; name="file"; filename="a"') + END, tmp_path)
    assert (form.files[0].size, form.files[0].path.read_bytes()) == (0, b"")
    assert form.files[0].sha256 == hashlib.sha256().hexdigest()


async def test_a_field_may_be_called_like_a_parameter(tmp_path: Path) -> None:
    assert (await read(field("x; filename*=y") + END, tmp_path)).fields == [("x; filename*=y", "v")]


async def test_a_large_file_is_written_while_it_arrives(tmp_path: Path) -> None:
    head = b'--XX\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'
    seen: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        yield head
        for _ in range(100):
            yield b"a" * 65536
            seen.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
        yield b"\r\n" + END

    form = await read_form(body(), TYPE, tmp_path, max_bytes=LARGE)
    assert form.files[0].size == 100 * 65536
    assert form.files[0].sha256 == hashlib.sha256(b"a" * 6553600).hexdigest()
    assert seen[-1] > 80 * 65536


async def test_the_form_may_be_empty(tmp_path: Path) -> None:
    assert await read(END, tmp_path) == Form()


async def test_what_follows_the_last_boundary_is_ignored(tmp_path: Path) -> None:
    assert (await read(field("a") + END + b"epilogue", tmp_path)).fields == [("a", "v")]


async def test_what_goes_before_the_first_boundary_is_ignored(tmp_path: Path) -> None:
    for chunk in (1, 5, 65536):
        for preamble in (b"\r\n", b"Hello --XX\r\n", b"--X\r\n--\n", b"\n" * 60_000 + b"\r\n"):
            assert (await read(preamble + field("a") + END, tmp_path, chunk=chunk)).fields == [("a", "v")]


async def test_a_preamble_without_an_end_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(MultipartError, match="does not begin with its boundary"):
        await read(b"x" * (1 << 20), tmp_path)


async def test_a_part_under_the_name_of_a_file_is_one(tmp_path: Path) -> None:
    body = field("file", b"\xff\x00") + part('Content-Disposition: form-data; name="note"') + END
    form = await read_form(stream([body]), TYPE, tmp_path, max_bytes=LARGE, file_fields=("file",))
    assert [file.path.read_bytes() for file in form.files] == [b"\xff\x00"]
    assert form.fields == [("note", "")]


async def test_oddities_of_clients_are_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await read(field("a") + END + b"epilogue", tmp_path)
    with pytest.raises(MultipartError):
        await read(b"--XX nonsense", tmp_path)
    assert [record for record in caplog.records if record.name != "asyncio"] == []


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/mixed; boundary=XX",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "X" * 257,
        'multipart/form-data; boundary="X\x00X"',
        "multipart/form-data; boundary=\u00e9",
        "multipart/form-data; boundary=YY",
        "multipart/form-data; boundary=XX" + "; a=b" * 1000,
    ],
)
async def test_a_content_type_that_does_not_fit_is_refused(tmp_path: Path, content_type: str) -> None:
    with pytest.raises(MultipartError):
        await read(field("a") + END, tmp_path, content_type)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not a form",
        field("a"),
        field("a") + b"--XX",
        field("a") + b"--XX-",
        field("a") + b'--XX\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nhalf a fi',
        part("Content-Type: text/plain", b"no disposition") + END,
        part("Content-Disposition: form-data", b"no name") + END,
        part('Content-Disposition: attachment; name="a"') + END,
        part('Content-Disposition: form-data; name="a"' + "\r\nX-Header: 1" * 20) + END,
        part(f'Content-Disposition: form-data; name="a"; filename="{"a" * 5000}"') + END,
        part("Bad Header: 1") + END,
        b"--XX\r\n\r\nno headers\r\n" + END,
        field("a", b"\xff\xfe") + END,
    ],
)
@pytest.mark.parametrize("chunk", [1, 65536])
async def test_a_broken_body_is_refused(tmp_path: Path, body: bytes, chunk: int) -> None:
    with pytest.raises(MultipartError):
        await read(body, tmp_path, chunk=chunk)


@pytest.mark.parametrize("chunk", [10, 65536])
async def test_a_body_may_be_exactly_as_large_as_allowed(tmp_path: Path, chunk: int) -> None:
    body = field("a", b"x" * 1000) + END
    assert (await read(body, tmp_path, chunk=chunk, max_bytes=len(body))).fields == [("a", "x" * 1000)]
    with pytest.raises(BodyTooLarge):
        await read(body, tmp_path, chunk=chunk, max_bytes=len(body) - 1)


async def test_an_endless_body_is_left_at_the_limit(tmp_path: Path) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--XX\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'
        while True:
            sent += 1000
            yield b"a" * 1000

    with pytest.raises(BodyTooLarge):
        await read_form(endless(), TYPE, tmp_path, max_bytes=50_000)
    assert sent < 52_000


async def test_fields_and_files_are_counted(tmp_path: Path) -> None:
    file = part('Content-Disposition: form-data; name="f"; filename="a"')
    assert len((await read(field("a") * 5 + file * 2 + END, tmp_path, max_fields=5, max_files=2)).fields) == 5
    with pytest.raises(MultipartError, match="5 fields"):
        await read(field("a") * 6 + END, tmp_path, max_fields=5)
    with pytest.raises(MultipartError, match="2 files"):
        await read(file * 3 + END, tmp_path, max_files=2)


async def test_fields_may_be_large_but_not_larger_than_allowed_together(tmp_path: Path) -> None:
    reference = b"data:audio/wav;base64," + b"A" * (3 << 20)
    assert (await read(field("r[]", reference) + END, tmp_path)).fields == [("r[]", reference.decode())]
    with pytest.raises(MultipartError, match="more than 100 bytes"):
        await read(field("a", b"x" * 60) + field("b", b"x" * 60) + END, tmp_path, max_field_bytes=100)


async def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await read(part('Content-Disposition: form-data; name="f"; filename="a"') + END, tmp_path / "missing")


async def test_nothing_writes_after_a_cancelled_upload(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b'--XX\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + b"a" * (4 << 20)
        arrived.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(read_form(stalled(), TYPE, tmp_path, max_bytes=LARGE))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for path in tmp_path.iterdir():
        path.unlink()
    tmp_path.rmdir()


async def test_cancelling_in_the_middle_of_a_write_waits_for_it(tmp_path: Path) -> None:
    body = b'--XX\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + b"a" * (32 << 20)
    task = asyncio.create_task(read_form(stream([body]), TYPE, tmp_path, max_bytes=LARGE))
    while not (tmp_path / "upload-0").exists():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "upload-0").stat().st_size >= 31 << 20


@pytest.mark.parametrize("name", ["prompt", "prompt[]"])
async def test_a_field_that_is_no_text_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(MultipartError, match="is not UTF-8") as refused:
        await read(field("model") + field(name, b"caf\xe9") + END, tmp_path)
    assert refused.value.field == "prompt"


async def test_an_urlencoded_form(tmp_path: Path) -> None:
    kind = "application/x-www-form-urlencoded; charset=utf-8"
    form = await read(b"input=caf%C3%A9+au+lait&x%5B%5D=1&x%5B%5D=2&empty=", tmp_path, kind, chunk=3)
    assert form == Form([("input", "café au lait"), ("x[]", "1"), ("x[]", "2"), ("empty", "")])
    assert await read(b"", tmp_path, kind) == Form()


@pytest.mark.parametrize("body", [b"a=%ff", b"a=\xff", b"a=1&" * 11, b"a=" + b"x" * 100])
async def test_an_urlencoded_form_has_limits_too(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(MultipartError):
        await read(body, tmp_path, "application/x-www-form-urlencoded", max_fields=10, max_field_bytes=99)
    with pytest.raises(BodyTooLarge):
        await read(b"a=123", tmp_path, "application/x-www-form-urlencoded", max_bytes=4)


async def test_an_urlencoded_form_has_at_most_a_mebibyte(tmp_path: Path) -> None:
    kind = "application/x-www-form-urlencoded"
    body = b"a=" + b"x" * ((1 << 20) - 2)
    assert len((await read(body, tmp_path, kind)).fields[0][1]) == (1 << 20) - 2
    with pytest.raises(MultipartError, match="multipart"):
        await read(body + b"x", tmp_path, kind)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20).filter(
    lambda name: not set(name) & set('"\\')
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    fields=st.lists(st.tuples(NAMES, st.text(st.characters(codec="utf-8")))),
    files=st.lists(st.tuples(NAMES, NAMES, st.binary()), max_size=4),
    chunk=st.integers(1, 300),
)
def test_what_httpx_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    fields: list[tuple[str, str]],
    files: list[tuple[str, str, bytes]],
    chunk: int,
) -> None:
    parts = [(name, (None, value.encode())) for name, value in fields]
    parts += [(name, (filename, content)) for name, filename, content in files]  # type: ignore[misc]
    if not parts:
        return
    request = httpx.Request("POST", "http://x", files=parts)
    body = request.read()
    form = asyncio.run(read(body, tmp_path_factory.mktemp("form"), request.headers["content-type"], chunk=chunk))
    assert form.fields == fields
    assert [(file.field, file.filename, file.path.read_bytes()) for file in form.files] == files


async def test_what_requests_writes_is_read_back(tmp_path: Path) -> None:
    prepared = requests.Request(
        "POST",
        "http://x",
        data={"model": "whisper-1", "x[]": ["a", "b"]},
        files={"file": ("ä ö.wav", b"RIFF", "audio/wav")},
    ).prepare()
    assert isinstance(prepared.body, bytes)
    form = await read(prepared.body, tmp_path, prepared.headers["Content-Type"])
    assert form.fields == [("model", "whisper-1"), ("x[]", "a"), ("x[]", "b")]
    assert (form.files[0].filename, form.files[0].path.read_bytes()) == ("ä ö.wav", b"RIFF")
