"""Samples in a JSON array: taken out of the body in pieces, whatever is around them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr.api import samples
from asr.api.samples import RATE, take_samples
from core.errors import InvalidRequest


def body(folder: Path, content: str) -> Path:
    path = folder / "body"
    path.write_text(content, encoding="utf-8")
    return path


def taken(folder: Path, content: str) -> tuple[list[float], Any]:
    """Return the samples of a body and what is left of it."""
    path = body(folder, content)
    pcm = take_samples(path, folder / "samples.s16")
    assert pcm is not None
    assert (pcm.sample_rate, pcm.channels, pcm.offset) == (RATE, 1, 0)
    assert (folder / "samples.s16").stat().st_size == 2 * pcm.frames
    return pcm.read().tolist(), json.loads(path.read_text(encoding="utf-8"))


def test_the_array_becomes_a_file_and_the_rest_stays(tmp_path: Path) -> None:
    found, rest = taken(tmp_path, '{"model": "x", "audio" : [0, 0.5, -0.5,\n1e-1], "threshold": 0.3}')
    assert found == pytest.approx([0, 0.5, -0.5, 0.1], abs=1e-4)
    assert rest == {"model": "x", "audio": [], "threshold": 0.3}


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_pieces_of_any_size_are_the_same_samples(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_PIECE_BYTES", size)
    wanted = np.linspace(-1, 1, 101).tolist()
    found, rest = taken(tmp_path, json.dumps({"audio": wanted}))
    assert found == pytest.approx(wanted, abs=1e-4)
    assert rest == {"audio": []}


def test_what_a_resampler_puts_above_full_scale_is_clipped(tmp_path: Path) -> None:
    found, _ = taken(tmp_path, '{"audio": [1.04, -1.5]}')
    assert found == pytest.approx([1, -1], abs=1e-4)


def test_an_empty_array_has_no_samples(tmp_path: Path) -> None:
    assert taken(tmp_path, '{"audio": [ ]}') == ([], {"audio": []})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"audio": "UklGRg=="}',
        '{"audio": null}',
        '{"model": "audio", "other": [1, 2]}',
        r'{"prompt": "\"audio\": [1, 2]"}',
        '{"my_audio": [1]}',
        '{"other": {"audio": [1, 2]}}',
        '{"other": [{"audio": [1, 2]}]}',
        '[{"audio": [1, 2]}]',
        '{"other": "' + "\\\\" * 3 + '", "model": "audio"}',
    ],
)
def test_a_body_without_the_array_stays_as_it_is(tmp_path: Path, content: str) -> None:
    path = body(tmp_path, content)
    assert take_samples(path, tmp_path / "samples.s16") is None
    assert path.read_text(encoding="utf-8") == content


def test_the_word_may_come_before_the_array(tmp_path: Path) -> None:
    found, rest = taken(tmp_path, '{"model": "audio", "audio": [0.5]}')
    assert found == pytest.approx([0.5], abs=1e-4)
    assert rest["model"] == "audio"


def test_an_array_of_that_name_further_in_is_another(tmp_path: Path) -> None:
    before = {"other": {"audio": [1, 2], "text": 'a "quoted] {"'}, "more": [[], ["audio"]]}
    found, rest = taken(tmp_path, json.dumps({**before, "audio": [0.5], "after": {"audio": [3]}}))
    assert found == pytest.approx([0.5], abs=1e-4)
    assert rest == {**before, "audio": [], "after": {"audio": [3]}}


@pytest.mark.parametrize(
    "start", ['{"other": "' + "\\n" * (2 << 20) + '", ', '{"other": ' + "[" * (2 << 20), '"' * (2 << 20)]
)
def test_a_long_way_to_the_array_takes_no_time(tmp_path: Path, start: str) -> None:
    started = time.monotonic()
    take_samples(body(tmp_path, start + '"audio": [0.5]}'), tmp_path / "samples.s16")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "numbers",
    [
        "0.1, null", "0.1, 2.1", "32767", "NaN", "1e999", "1" * 400, '"a"', "{}", "0.1,,0.2", ",", "0.1 0.2", "[0.1]",
        "[" * 2000, "true", '"0.5", true', '0.1, "0.5"',
    ],
)  # fmt: skip
def test_anything_but_samples_is_refused(tmp_path: Path, numbers: str) -> None:
    path = body(tmp_path, f'{{"audio": [{numbers}]}}')
    with pytest.raises(InvalidRequest) as caught:
        take_samples(path, tmp_path / "samples.s16")
    assert caught.value.param == "audio"


def test_an_array_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="array of numbers"):
        take_samples(body(tmp_path, '{"audio": [0.1, 0.2'), tmp_path / "samples.s16")
