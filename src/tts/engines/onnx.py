"""ONNX Runtime sessions for the TTS engines: providers by device, and memory that stays flat over varied lengths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from core.engines import Device, EngineContext
from core.errors import ConfigurationError, ModelBroken

_ERRORS_ONLY = 3
_PROVIDERS: dict[Device, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider",),
    "rocm": ("MIGraphXExecutionProvider", "ROCMExecutionProvider"),
    "mps": (),
}


class OnnxSession:
    """An InferenceSession whose `run` hands unused memory back; everything else is the session's own.

    Without it the arena keeps the largest block that any text ever needed (Kokoro: 400 MB instead of 230 MB).
    """

    def __init__(self, session: Any, run_options: Any) -> None:
        self._session = session
        self._run_options = run_options

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, outputs: list[str] | None, feeds: dict[str, Any]) -> list[Any]:
        """Run the model."""
        found: list[Any] = self._session.run(outputs, feeds, self._run_options)
        return found


def open_session(path: Path, context: EngineContext) -> OnnxSession:
    """Return a session on the context's device; ConfigurationError when the file or the device cannot be used."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = context.threads or _cores()
    options.enable_mem_pattern = False  # patterns are kept for every input length ever seen
    options.log_severity_level = _ERRORS_ONLY
    wanted = [name for name in _PROVIDERS[context.device] if name in onnxruntime.get_available_providers()]
    if not wanted:
        raise ConfigurationError(f"this onnxruntime cannot use {context.device}; see docs/devices.md")
    device = {} if context.device == "cpu" else {"device_id": str(context.device_index)}
    providers = [(wanted[0], device)]
    if context.device != "cpu":
        providers.append(("CPUExecutionProvider", {}))
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # the seam: onnxruntime's errors share no base class
        raise ModelBroken(f"{path.name} cannot be loaded: {error}") from error
    if session.get_providers()[0] != wanted[0]:
        raise ConfigurationError(f"{wanted[0]} cannot be used here, see the log; docs/devices.md says what it needs")
    run_options = onnxruntime.RunOptions()
    if context.device == "cpu":
        run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return OnnxSession(session, run_options)


def _cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
