"""Settings of the ASR service (`ASR_*`)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator

from core.settings import CommaList, DeviceChoice, DeviceList, ServiceSettings, split_commas


class AsrSettings(ServiceSettings):
    """Settings that only the ASR service reads."""

    project_name: str = Field(
        default="Voice Stack ASR", validation_alias="PROJECT_NAME", description="Title of the API."
    )
    host: str = Field(default="127.0.0.1", validation_alias="ASR_HOST", description="Address to listen on.")
    port: int = Field(
        default=5001, ge=0, le=65535, validation_alias="ASR_PORT", description="Port to listen on; 0 takes a free one."
    )
    url: str = Field(
        default="http://127.0.0.1:5001",
        validation_alias="ASR_URL",
        description="Where the command line looks for a running service.",
    )
    device: DeviceChoice = Field(
        default="auto", validation_alias="ASR_DEVICE", description="auto, cpu, cuda, rocm or mps."
    )
    device_index: DeviceList = Field(
        default=(0,),
        validation_alias="ASR_DEVICE_INDEX",
        description="Which GPU, counted from 0; `0,1` runs every model on both, with one queue in front of them.",
    )
    compute_type: str = Field(
        default="default",
        validation_alias="ASR_COMPUTE_TYPE",
        description="Number format of the weights; default is int8 on CPU and float16 on a GPU.",
    )
    model: str = Field(
        default="whisper-base", validation_alias="ASR_MODEL", description="Default model: an id, alias or folder."
    )
    models: CommaList = Field(
        default=(),
        validation_alias="ASR_MODELS",
        description="Models to load at start, comma-separated, as far as MODEL_SLOTS and MODEL_MEMORY_MB admit; the "
        "first is the default one where ASR_MODEL is not set.",
    )
    engine: str = Field(
        default="faster-whisper", validation_alias="ASR_ENGINE", description="Engine for models given as a folder."
    )
    engine_options: dict[str, Any] = Field(
        default_factory=dict,
        validation_alias="ASR_ENGINE_OPTIONS",
        description="Options of the engine, for example ASR_ENGINE_OPTIONS__BEAM_SIZE=3 (docs/engines.md).",
    )
    workers: int = Field(
        default=0,
        ge=0,
        validation_alias="ASR_WORKERS",
        description="Decoders that compute at once, sharing one copy of the weights; 0 means as many as "
        "`voice-stack tune` found best, else as many as the cores allow, up to 16, or one on a GPU.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        validation_alias="ASR_THREADS",
        description="CPU threads per decoder; 0 means what `voice-stack tune` found best, else 1, and up to 4 for an "
        "only decoder.",
    )
    max_waiting: PositiveInt = Field(
        default=64, validation_alias="ASR_MAX_WAITING", description="Requests that may wait before 429 queue_full."
    )
    timeout: float = Field(
        default=3600.0, gt=0, validation_alias="ASR_TIMEOUT", description="Seconds one request may take before 504."
    )
    vad_enabled: bool = Field(
        default=True, validation_alias="ASR_VAD_ENABLED", description="Whether silence is skipped (Silero VAD)."
    )
    language: str | None = Field(
        default=None, validation_alias="ASR_LANGUAGE", description="Language of all audio; empty detects it."
    )
    empty_subtitle: Literal["empty", "blank"] = Field(
        default="empty",
        validation_alias="EMPTY_SUBTITLE",
        description="What /asr answers as srt where nobody speaks: empty, so that Bazarr asks again one day, or blank, "
        "a line break, which it keeps as an empty subtitle.",
    )
    max_audio_seconds: float = Field(
        default=14400.0, gt=0, validation_alias="MAX_AUDIO_SECONDS", description="Longest audio accepted."
    )
    decode_timeout: float = Field(
        default=600.0, gt=0, validation_alias="ASR_DECODE_TIMEOUT", description="Seconds the decoder child may take."
    )
    idle_unload: float = Field(
        default=-1, ge=-1, validation_alias="ASR_IDLE_UNLOAD", description="Seconds until an idle model is unloaded."
    )
    preload: bool = Field(
        default=True, validation_alias="ASR_PRELOAD", description="Whether the default model is loaded at start."
    )
    diarization_model: str = Field(
        default="diarization-community1",
        validation_alias="DIARIZATION_MODEL",
        description="Model that tells who speaks: an id, alias or folder.",
    )
    diarization_engine: str = Field(
        default="community1",
        validation_alias="DIARIZATION_ENGINE",
        description="Engine for diarization models given as a folder.",
    )
    diarization_engine_options: dict[str, Any] = Field(
        default_factory=dict,
        validation_alias="DIARIZATION_ENGINE_OPTIONS",
        description="Options of DIARIZATION_ENGINE, for example DIARIZATION_ENGINE_OPTIONS__STEP=2 (docs/engines.md).",
    )
    diarization_device: DeviceChoice = Field(
        default="auto",
        validation_alias="DIARIZATION_DEVICE",
        description="auto, cpu, cuda, rocm or mps; of several GPUs the first of ASR_DEVICE_INDEX.",
    )
    diarization_threads: int = Field(
        default=0,
        ge=0,
        validation_alias="DIARIZATION_THREADS",
        description="CPU threads of a diarization; 0 means automatic.",
    )
    diarization_preload: bool = Field(
        default=False,
        validation_alias="DIARIZATION_PRELOAD",
        description="Whether the diarization model is loaded at start.",
    )
    diarization_idle_unload: float = Field(
        default=600.0,
        ge=-1,
        validation_alias="DIARIZATION_IDLE_UNLOAD",
        description="Seconds until an idle diarization model is unloaded; -1 means never.",
    )
    voiceprints: bool = Field(
        default=False,
        validation_alias="VOICEPRINTS",
        description="Whether people may be registered and recognised by their voices, which are biometric data.",
    )
    job_ttl_seconds: float = Field(
        default=86400.0,
        gt=0,
        validation_alias="JOB_TTL_SECONDS",
        description="Seconds a finished job and its result are kept.",
    )
    job_max_open: PositiveInt = Field(
        default=1000, validation_alias="JOB_MAX_OPEN", description="Unfinished jobs accepted before 429 queue_full."
    )
    job_callback_hosts: CommaList = Field(
        default=(),
        validation_alias="JOB_CALLBACK_HOSTS",
        description="Hosts a job's callback_url may name, comma-separated; empty refuses callbacks. "
        "A private address must be listed itself.",
    )

    @field_validator("job_callback_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        return split_commas(value.lower() if isinstance(value, str) else value)
