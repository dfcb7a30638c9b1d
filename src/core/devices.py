"""Which device an engine runs on: what the machine has, what a runtime can use, and the choice between them."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from core.engines import Device, Runtime
from core.errors import ConfigurationError

log = logging.getLogger(__name__)

PREFERENCE: tuple[Device, ...] = ("cuda", "rocm", "mps")
_KFD = Path("/sys/class/kfd/kfd/topology/nodes")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Choice:
    """A device and why it was taken."""

    device: Device
    reason: str


def hardware() -> dict[Device, int]:
    """Return how many devices of each kind the machine has, asking drivers and not ML libraries."""
    return {"cpu": 1, "cuda": _cuda_devices(), "rocm": _rocm_devices(), "mps": int(_is_apple_silicon())}


def usable_cores() -> int:
    """Return how many cores this process may keep busy: those it is bound to, and what its container is allowed."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = map(int, _CPU_QUOTA.read_text(encoding="ascii").split())
    except (OSError, ValueError):  # not a container with limits; "max" is none either
        return bound
    return max(1, min(bound, quota // period))


def _cuda_devices() -> int:
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1" if sys.platform != "win32" else "nvcuda.dll")
        failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return 0
    return 0 if failed else count.value


def _rocm_devices() -> int:
    """Count the GPU nodes of the AMD kernel driver; CPU nodes have gpu_id 0."""
    found = 0
    for node in _KFD.glob("*/gpu_id"):
        try:
            found += node.read_text(encoding="ascii").strip() != "0"
        except OSError:
            continue
    return found


def _is_apple_silicon() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"


def _ctranslate2_devices() -> dict[Device, int]:
    library = import_module("ctranslate2")
    count = int(library.get_cuda_device_count())
    # A ROCm build of CTranslate2 calls its devices "cuda" as well; the kernel driver tells which it is.
    return {"rocm": count} if count and _rocm_devices() else {"cuda": count}


def _onnxruntime_devices() -> dict[Device, int]:
    return onnx_devices(import_module("onnxruntime").get_available_providers())


def onnx_devices(providers: list[str]) -> dict[Device, int]:
    """Return the devices behind a list of ONNX Runtime providers."""
    return {
        "cuda": int("CUDAExecutionProvider" in providers) and _cuda_devices(),
        "rocm": int(bool({"ROCMExecutionProvider", "MIGraphXExecutionProvider"} & set(providers))) and _rocm_devices(),
    }


def _torch_devices() -> dict[Device, int]:
    library = import_module("torch")
    count = int(library.cuda.device_count()) if library.cuda.is_available() else 0
    kind: Device = "rocm" if getattr(library.version, "hip", None) else "cuda"
    return {kind: count, "mps": int(library.backends.mps.is_available())}


_RUNTIMES: Mapping[Runtime, Callable[[], dict[Device, int]]] = {
    "none": dict,
    "ctranslate2": _ctranslate2_devices,
    "onnxruntime": _onnxruntime_devices,
    "torch": _torch_devices,
}


def usable(runtime: Runtime) -> dict[Device, int]:
    """Return how many devices of each kind the runtime can use; imports it, so only in a worker or in `doctor`."""
    return {"cpu": 1, **_RUNTIMES[runtime]()}


def choose(wanted: str, available: Mapping[Device, int], *, index: int = 0) -> Choice:
    """Pick the device: the one asked for, or for "auto" the best there is.

    Raises ConfigurationError when the one asked for, or its `index`, is not there.
    """
    if wanted == "auto":
        for device in PREFERENCE:
            if available.get(device, 0) > index:
                return Choice(device, f"auto: {available[device]} {device} device(s) found")
        return Choice("cpu", "auto: no usable GPU found")
    for device in ("cpu", *PREFERENCE):
        if device == wanted:
            count = available.get(device, 0)
            if device == "cpu" or count > index:
                return Choice(device, "as configured")
            raise ConfigurationError(
                f"device {wanted!r} (index {index}) was asked for and {count} are usable; "
                f"`voice-stack doctor` shows what is there, docs/devices.md what each device needs"
            )
    raise ConfigurationError(f"unknown device {wanted!r}; use auto, cpu, cuda, rocm or mps")


def spread(wanted: str, indices: Sequence[int], found: Mapping[Device, int]) -> tuple[int, ...]:
    """Return the devices that get a process each, of those listed and with the hardware that was `found`.

    One device is what it is; `choose` has the last word on it. Of several, "auto" takes those that are there, and one
    process where there is no GPU. Raises ConfigurationError for several of a device that there is one of, or that are
    not all there.
    """
    if len(indices) == 1:
        return tuple(indices)
    if wanted == "cpu":
        raise ConfigurationError(
            f"the CPU is one device, and {len(indices)} are listed ({_listed(indices)}); "
            "how many of its cores work at once is another setting (ASR_WORKERS, ASR_THREADS, TTS_THREADS)"
        )
    if wanted != "auto":
        for index in indices:
            choose(wanted, found, index=index)
        return tuple(indices)
    best = next((device for device in PREFERENCE if found.get(device, 0)), None)
    there = tuple(index for index in indices if best and index < found[best])
    if there != tuple(indices):
        log.warning(
            "devices %s are listed, %s; auto starts %d process(es)",
            _listed(indices),
            f"{found[best]} of kind {best} are there" if best else "no GPU is there",
            max(len(there), 1),
        )
    return there or (indices[0],)


def _listed(indices: Sequence[int]) -> str:
    return ",".join(map(str, indices))
