"""Choosing a device, with made-up machines."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from core import devices
from core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("wanted", "available", "device"),
    [
        ("auto", {"cpu": 1}, "cpu"),
        ("auto", {"cpu": 1, "cuda": 2}, "cuda"),
        ("auto", {"cpu": 1, "rocm": 1}, "rocm"),
        ("auto", {"cpu": 1, "mps": 1}, "mps"),
        ("auto", {"cpu": 1, "cuda": 0, "rocm": 0}, "cpu"),
        ("cpu", {"cpu": 1, "cuda": 1}, "cpu"),
        ("cuda", {"cpu": 1, "cuda": 1}, "cuda"),
        ("rocm", {"cpu": 1, "rocm": 1}, "rocm"),
    ],
)
def test_the_device_that_is_chosen(wanted: str, available: dict[devices.Device, int], device: str) -> None:
    assert devices.choose(wanted, available).device == device


@pytest.mark.parametrize(
    ("wanted", "index"), [("cuda", 0), ("rocm", 0), ("mps", 0), ("cuda", 3), ("tpu", 0), ("", 0), ("CUDA", 0)]
)
def test_an_explicit_device_that_is_not_there_is_refused(wanted: str, index: int) -> None:
    with pytest.raises(ConfigurationError):
        devices.choose(wanted, {"cpu": 1, "cuda": 0}, index=index)


def test_an_index_beyond_the_last_device_is_refused_and_auto_falls_back() -> None:
    with pytest.raises(ConfigurationError, match="index 1"):
        devices.choose("cuda", {"cuda": 1}, index=1)
    assert devices.choose("auto", {"cuda": 1}, index=1).device == "cpu"


@pytest.mark.parametrize(
    ("providers", "device"),
    [
        (["CPUExecutionProvider"], "cpu"),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], "cuda"),
        (["ROCMExecutionProvider", "CPUExecutionProvider"], "rocm"),
        (["MIGraphXExecutionProvider", "CPUExecutionProvider"], "rocm"),
    ],
)
def test_onnx_providers_are_devices(monkeypatch: pytest.MonkeyPatch, providers: list[str], device: str) -> None:
    # The machine: one GPU of each make, so that only the providers decide.
    monkeypatch.setattr(devices, "_cuda_devices", lambda: 1)
    monkeypatch.setattr(devices, "_rocm_devices", lambda: 1)
    assert devices.choose("auto", devices.onnx_devices(providers)).device == device


def test_a_provider_without_a_gpu_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_cuda_devices", lambda: 0)
    assert devices.choose("auto", devices.onnx_devices(["CUDAExecutionProvider"])).device == "cpu"


@pytest.mark.parametrize(
    ("wanted", "listed", "found", "expected"),
    [
        ("cuda", (0, 1), {"cuda": 2}, (0, 1)),
        ("cuda", (3, 1), {"cuda": 4}, (3, 1)),
        ("auto", (0, 1), {"cuda": 2}, (0, 1)),
        ("auto", (0, 1), {"rocm": 2}, (0, 1)),
        ("auto", (0, 1), {"cuda": 1}, (0,)),
        ("auto", (0, 1), {"cpu": 1, "cuda": 0}, (0,)),
        ("auto", (2, 3), {"cuda": 2}, (2,)),
        ("cpu", (0,), {}, (0,)),
        ("cpu", (1,), {}, (1,)),
        ("auto", (1,), {}, (1,)),
    ],
)
def test_the_devices_that_get_a_process(
    wanted: str, listed: tuple[int, ...], found: dict[devices.Device, int], expected: tuple[int, ...]
) -> None:
    assert devices.spread(wanted, listed, found) == expected


def test_a_list_that_auto_cannot_follow_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        devices.spread("auto", (0, 1), {"cpu": 1})
    assert "0,1 are listed, no GPU is there; auto starts 1 process" in caplog.text


@pytest.mark.parametrize(
    ("wanted", "found", "why"),
    [("cpu", {"cpu": 1}, "one device"), ("cuda", {"cuda": 1}, "index 1"), ("mps", {"mps": 1}, "index 1")],
)
def test_several_devices_that_are_not_there_are_refused(
    wanted: str, found: dict[devices.Device, int], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        devices.spread(wanted, (0, 1), found)


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1), ("3200000 100000", 8)],
)
def test_a_container_has_the_cores_it_is_allowed(
    limit: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(f"{limit}\n", encoding="ascii")
    monkeypatch.setattr(devices, "_CPU_QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert devices.usable_cores() == cores


def test_this_machine_has_a_cpu() -> None:
    assert devices.hardware()["cpu"] == 1
    assert devices.usable("ctranslate2")["cpu"] == 1
    assert devices.usable("onnxruntime")["cpu"] == 1
