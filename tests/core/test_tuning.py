"""What `voice-stack tune` keeps: found again under the same conditions only."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from core.tuning import Conditions, Setup, Tuning

HERE = Conditions(model="whisper-base", device="cpu", compute_type="default", cores=2, library="ctranslate2 4.6.0")
BEST = Setup(device="cpu", workers=2, threads=1)


def test_a_setup_is_found_again(tmp_path: Path) -> None:
    Tuning(tmp_path / "state").save(HERE, BEST)
    found = Tuning(tmp_path / "state")
    assert found.knows("whisper-base")
    assert found.find(HERE) == BEST


def test_nothing_is_known_before(tmp_path: Path) -> None:
    assert not Tuning(tmp_path).knows("whisper-base")
    assert Tuning(tmp_path).find(HERE) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(HERE, cores=4),
        replace(HERE, library="ctranslate2 4.7.0"),
        replace(HERE, compute_type="float32"),
    ],
)
def test_what_is_out_of_date_is_ignored_with_one_line(
    other: Conditions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Tuning(tmp_path).save(HERE, BEST)
    with caplog.at_level(logging.INFO):
        assert Tuning(tmp_path).find(other) is None
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "what was tuned for whisper-base is out of date"
    ]


@pytest.mark.parametrize("other", [replace(HERE, model="whisper-tiny.en"), replace(HERE, device="cuda")])
def test_models_and_devices_do_not_disturb_one_another(other: Conditions, tmp_path: Path) -> None:
    tuning = Tuning(tmp_path)
    tuning.save(HERE, BEST)
    tuning.save(other, Setup(device="cuda", workers=1, batch_size=16))
    assert tuning.find(HERE) == BEST
    assert tuning.find(other) == Setup(device="cuda", workers=1, batch_size=16)


def test_what_is_tuned_again_replaces_what_was(tmp_path: Path) -> None:
    tuning = Tuning(tmp_path)
    tuning.save(HERE, BEST)
    tuning.save(replace(HERE, cores=4), Setup(device="cpu", workers=4, threads=1))
    assert tuning.find(HERE) is None
    assert tuning.find(replace(HERE, cores=4)) == Setup(device="cpu", workers=4, threads=1)


@pytest.mark.parametrize("content", ["", "{}", '[{"setup": {}}]', "\0"])
def test_a_broken_file_is_ignored_and_can_be_written_again(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tuning = Tuning(tmp_path)
    tuning.path.write_text(content, encoding="utf-8")
    assert tuning.find(HERE) is None
    assert "cannot be read" in caplog.text
    tuning.save(HERE, BEST)
    assert tuning.find(HERE) == BEST
