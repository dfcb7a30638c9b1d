"""How much a benchmark measures and on what, the same for the service and for what it is compared with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from bench import results
from bench.services import Name
from core.devices import usable_cores
from core.model_entry import ModelRef

ASR_MODEL, TTS_MODEL = "whisper-base", "kokoro"
LANGUAGE = "en"
MAX_THREADS = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds of each comparison, rounds before them that do not count, seconds of load, and the device."""

    asr_rounds: int
    tts_rounds: int
    warm_up: int
    load_seconds: float
    device: str = "cpu"

    @classmethod
    def from_environment(cls) -> Plan:
        """Return the plan that QUICK and BENCH_DEVICE ask for."""
        rounds = (2, 2, 1, 3.0) if results.is_quick() else (25, 15, 2, 60.0)
        return cls(*rounds, device=os.environ.get("BENCH_DEVICE", "cpu"))

    @property
    def threads(self) -> int:
        """CPU threads of one call."""
        return min(usable_cores(), MAX_THREADS)

    @property
    def compute_type(self) -> str:
        """Number format of the ASR weights."""
        return "int8" if self.device == "cpu" else "float16"

    def service(self, name: Name) -> dict[str, str]:
        """Return the settings of a service: one decoder with all the threads, as the engine alone has it."""
        model = ASR_MODEL if name == "asr" else TTS_MODEL
        settings = {"MODEL": model, "DEVICE": self.device, "THREADS": str(self.threads)}
        if name == "asr":
            settings |= {"COMPUTE_TYPE": self.compute_type, "WORKERS": "1"}
        return {f"{name.upper()}_{key}": value for key, value in settings.items()}

    def context(self, model: ModelRef) -> dict[str, Any]:
        """Return what an engine without a service is told, as JSON; see core.engines.EngineContext."""
        told = {"model": str(model.path), "model_id": model.id, "device": self.device, "threads": self.threads}
        return told | ({"compute_type": self.compute_type} if model.task == "automatic-speech-recognition" else {})

    def facts(self) -> dict[str, str | int]:
        """Return what both sides were told, for the result."""
        return {
            "asr_model": ASR_MODEL,
            "tts_model": TTS_MODEL,
            "language": LANGUAGE,
            "compute_type": self.compute_type,
            "threads": self.threads,
            "device": self.device,
        }
