"""ONNX Runtime sessions: providers by device, and memory that stays flat over varied lengths."""

from __future__ import annotations

import io
import logging
import mmap
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.devices import usable_cores
from core.engines import Device, EngineContext
from core.errors import ConfigurationError, ModelBroken
from utils.onnx_outputs import NotOneTensor, extra_output

log = logging.getLogger(__name__)
DURATIONS = "duration"
"""The output of `open_session(durations=...)`."""
_ERRORS_ONLY = 3
_MOST_BYTES = 1 << 30
_READ_BYTES = 8 << 20
_PROVIDERS: dict[Device, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider",),
    "rocm": ("MIGraphXExecutionProvider", "ROCMExecutionProvider"),
    "mps": (),
}


class OnnxSession:
    """An InferenceSession whose `run` hands unused memory back; everything else is the session's own.

    Without it the arena keeps the largest block that any text ever needed: Kokoro has 450 MB after 18 texts instead of
    240 MB, for the same work. Without an arena it has 360 to 470 MB, and 2 GB at its peak.
    """

    def __init__(self, session: Any, run_options: Any, path: Path) -> None:
        self._session = session
        self._run_options = run_options
        self._model_path = str(path)  # kokoro-onnx reads it, and a session made from bytes has none

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, outputs: list[str] | None, feeds: dict[str, Any]) -> list[Any]:
        """Run the model."""
        found: list[Any] = self._session.run(outputs, feeds, self._run_options)
        return found


def open_session(
    path: Path,
    context: EngineContext,
    *,
    durations: Sequence[str] = (),
    content: bytes | None = None,
    spins: bool = True,
) -> OnnxSession:
    """Return a session on the context's device; ConfigurationError when the file or the device cannot be used.

    `content` is the model, where it is not what is in the file. Without `spins` threads that wait for each other
    leave their cores to other processes meanwhile.

    `durations` is the chain of operators that makes the model's durations; they become its output DURATIONS, where
    the model is as expected.
    """
    import onnxruntime  # noqa: PLC0415 - only an engine's process loads it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = context.threads or usable_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
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
        model = content or (_with_durations(path, durations) if durations else str(path))
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # the seam: onnxruntime's errors share no base class
        raise ModelBroken(f"{path.name} cannot be loaded: {error}") from error
    if isinstance(model, bytes):
        # It would keep them for a second try with another provider: as much memory again as the model takes.
        session.disable_fallback()
        session._model_bytes = b""  # noqa: SLF001
    if session.get_providers()[0] != wanted[0]:
        raise ConfigurationError(f"{wanted[0]} cannot be used here, see the log; docs/devices.md says what it needs")
    run_options = onnxruntime.RunOptions()
    if context.device == "cpu":
        run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return OnnxSession(session, run_options, path)


def _with_durations(path: Path, made_by: Sequence[str]) -> bytes | str:
    """Return the model with its durations as an output; its path where that cannot be."""
    beside = [*path.parent.glob(f"{path.name}_data*"), *path.parent.glob(f"{path.name}.data*")]
    if beside or not 0 < path.stat().st_size < _MOST_BYTES:  # weights in files of their own are found by the path only
        return str(path)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            extra = extra_output(memoryview(mapped), made_by=made_by, name=DURATIONS)
        except NotOneTensor as error:
            log.debug("%s does not tell durations: %s", path.name, error)
            return str(path)
        # Read into one buffer: joining two would take the model's size in memory once more.
        whole = io.BytesIO()
        shutil.copyfileobj(file, whole, _READ_BYTES)
    whole.write(extra)
    return whole.getvalue()
