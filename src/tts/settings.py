"""Settings of the TTS service (`TTS_*`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator

from core.settings import CommaList, DeviceChoice, DeviceList, ServiceSettings

OPENAI_MAX_INPUT = 4096


class TtsSettings(ServiceSettings):
    """Settings that only the TTS service reads."""

    project_name: str = Field(
        default="Voice Stack TTS", validation_alias="PROJECT_NAME", description="Title of the API."
    )
    host: str = Field(default="127.0.0.1", validation_alias="TTS_HOST", description="Address to listen on.")
    port: int = Field(
        default=5002, ge=0, le=65535, validation_alias="TTS_PORT", description="Port to listen on; 0 takes a free one."
    )
    url: str = Field(
        default="http://127.0.0.1:5002",
        validation_alias="TTS_URL",
        description="Where the command line looks for a running service.",
    )
    device: DeviceChoice = Field(
        default="auto", validation_alias="TTS_DEVICE", description="auto, cpu, cuda, rocm or mps."
    )
    device_index: DeviceList = Field(
        default=(0,),
        validation_alias="TTS_DEVICE_INDEX",
        description="Which GPU, counted from 0; `0,1` runs every model on both, with one queue in front of them.",
    )
    model: str = Field(
        default="kokoro", validation_alias="TTS_MODEL", description="Default model: an id, alias or folder."
    )
    models: CommaList = Field(
        default=(),
        validation_alias="TTS_MODELS",
        description="Models to load at start, comma-separated, as far as MODEL_SLOTS and MODEL_MEMORY_MB admit; the "
        "first is the default one where TTS_MODEL is not set.",
    )
    engine: str = Field(
        default="kokoro", validation_alias="TTS_ENGINE", description="Engine for models given as a folder."
    )
    engine_options: dict[str, Any] = Field(
        default_factory=dict,
        validation_alias="TTS_ENGINE_OPTIONS",
        description="Options of the engine, for example TTS_ENGINE_OPTIONS__NOISE_SCALE=0.5 (docs/engines.md).",
    )
    threads: int = Field(
        default=0, ge=0, validation_alias="TTS_THREADS", description="CPU threads of the engine; 0 means automatic."
    )
    max_waiting: PositiveInt = Field(
        default=64, validation_alias="TTS_MAX_WAITING", description="Requests that may wait before 429 queue_full."
    )
    utterance_cache_mb: float = Field(
        default=32.0,
        ge=0,
        validation_alias="TTS_UTTERANCE_CACHE_MB",
        description="Speech of short texts kept to answer the same request at once, in MiB; 0 keeps none.",
    )
    timeout: float = Field(
        default=3600.0, gt=0, validation_alias="TTS_TIMEOUT", description="Seconds one request may take before 504."
    )
    voice_dir: Path = Field(
        default=Path("voices"),
        validation_alias="TTS_VOICE_DIR",
        description="Recordings to clone: {speaker}[_{lang}].wav, each with its transcript in a .txt beside it.",
    )
    default_voice: str | None = Field(
        default=None,
        validation_alias="TTS_DEFAULT_VOICE",
        description="Voice of requests that name none; else the first installed of af_heart and jf_alpha.",
    )
    auto_lang: bool = Field(
        default=True, validation_alias="TTS_AUTO_LANG", description="Whether the language is read off the text."
    )
    max_chars: PositiveInt = Field(
        default=180, validation_alias="TTS_MAX_CHARS", description="Longest piece of text given to the engine at once."
    )
    max_input: PositiveInt = Field(
        default=50_000,
        validation_alias="TTS_MAX_INPUT",
        examples=["strict"],
        description="Longest text of one request, in characters; strict means OpenAI's 4096.",
    )
    voice_cloning: bool = Field(
        default=True,
        validation_alias="VOICE_CLONING",
        description="Whether requests may bring recordings to clone; false answers them with 403.",
    )
    voice_consent: Literal["required", "optional", "off"] = Field(
        default="optional",
        validation_alias="VOICE_CONSENT",
        description="Whether a voice made by request needs a consent recording: required, optional or off.",
    )
    align_url: str | None = Field(
        default=None,
        validation_alias="TTS_ALIGN_URL",
        description="ASR service that finds word times (timestamps=word) in speech of engines that have none.",
    )
    align_key: str | None = Field(
        default=None, validation_alias="TTS_ALIGN_KEY", description="API key for TTS_ALIGN_URL, where it wants one."
    )
    sample_rate: int | None = Field(
        default=None,
        ge=8000,
        le=48000,
        validation_alias="TTS_SAMPLE_RATE",
        description="Output rate in Hz; unset keeps the engine's. pcm is 24000 unless the request says otherwise.",
    )
    idle_unload: float = Field(
        default=-1, ge=-1, validation_alias="TTS_IDLE_UNLOAD", description="Seconds until an idle model is unloaded."
    )
    preload: bool = Field(
        default=True, validation_alias="TTS_PRELOAD", description="Whether the default model is loaded at start."
    )

    @property
    def engine_cache(self) -> Path:
        """Where engines keep what they compute once, as the latents of speakers."""
        return self.places.cache / "engines" / "tts"

    @field_validator("max_input", mode="before")
    @classmethod
    def _strict(cls, value: Any) -> Any:
        return OPENAI_MAX_INPUT if isinstance(value, str) and value.strip().lower() == "strict" else value
