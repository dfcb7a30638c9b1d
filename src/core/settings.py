"""Settings shared by both services, read from the environment and `.env`; built once and passed in, never global."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from voice_stack import __version__

DeviceChoice = Literal["auto", "cpu", "cuda", "rocm", "mps"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
ENV_FILE = ".env"


def split_commas(value: Any) -> Any:
    """Turn "a, b" into ("a", "b"); leave everything else alone."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _several_devices(indices: tuple[int, ...]) -> tuple[int, ...]:
    """Return the numbers of devices if they are ones."""
    if not indices:
        raise ValueError("name at least one device, for example 0")
    if negative := [index for index in indices if index < 0]:
        raise ValueError(f"devices are counted from 0; there is no device {negative[0]}")
    if twice := [index for place, index in enumerate(indices) if index in indices[:place]]:
        raise ValueError(f"device {twice[0]} is listed twice; each gets one process")
    return indices


CommaList = Annotated[tuple[str, ...], NoDecode]
DeviceList = Annotated[tuple[int, ...], NoDecode, BeforeValidator(split_commas), AfterValidator(_several_devices)]


def _place(own: str, systemd: str, xdg: str, fallback: str) -> Path:
    """Return a folder: ours by name, else the one systemd made for the unit, else the XDG one."""
    if value := os.environ.get(own) or os.environ.get(systemd, "").split(":")[0]:
        return Path(value).expanduser()
    return Path(os.environ.get(xdg) or Path.home() / fallback).expanduser() / "voice-stack"


class Places(BaseSettings):
    """Folders that both services and the command line use."""

    model_config = SettingsConfigDict(env_file=ENV_FILE, extra="ignore", frozen=True, env_ignore_empty=True)

    cache: Path = Field(
        default_factory=lambda: _place("VOICE_STACK_CACHE", "CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache"),
        validation_alias="VOICE_STACK_CACHE",
        description="Pulled models and what is derived from them; else $CACHE_DIRECTORY, else the XDG cache folder.",
    )
    state: Path = Field(
        default_factory=lambda: _place("VOICE_STACK_STATE", "STATE_DIRECTORY", "XDG_STATE_HOME", ".local/state"),
        validation_alias="VOICE_STACK_STATE",
        description="What must survive a restart; else $STATE_DIRECTORY, else the XDG state folder.",
    )
    tmp: Path | None = Field(
        default=None,
        validation_alias="VOICE_STACK_TMP",
        description="Uploads in flight, emptied at start; else a folder under the system's temporary folder.",
    )
    models: Path | None = Field(
        default=None,
        validation_alias="VOICE_STACK_MODELS",
        description="Folder with one folder of files per model id; `voice-stack models pull` looks there first.",
    )
    models_file: Path = Field(
        default=Path("models.toml"),
        validation_alias="MODELS_FILE",
        description="File with your own models, options of single models, and chains of models that stand in for each "
        "other; the default need not be there.",
    )


class ServiceSettings(BaseSettings):
    """Settings with one name for both services."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_ignore_empty=True,
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    # Each service reads these from names of its own.
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    device: DeviceChoice = Field(default="auto", description="auto, cpu, cuda, rocm or mps.")
    device_index: DeviceList = Field(default=(0,), description="Which GPUs, counted from 0, comma-separated.")
    model: str = Field(default="", description="Default model: an id, alias or folder.")
    models: CommaList = Field(default=(), description="Models to load at start, comma-separated.")
    project_name: str = Field(default="Voice Stack", validation_alias="PROJECT_NAME", description="Title of the API.")
    api_v1_str: str = Field(
        default="/v1",
        validation_alias="API_V1_STR",
        pattern=r"^(/[A-Za-z0-9._-]+)+$",
        description="Prefix of the OpenAI-compatible routes; the aliases without prefix do not move.",
    )
    cors_origins: CommaList = Field(
        default=(), validation_alias="CORS_ORIGINS", description="Origins a browser may call from, comma-separated."
    )
    api_keys: CommaList = Field(
        default=(), validation_alias="API_KEYS", description="Accepted API keys, comma-separated; empty means open."
    )
    public_listings: bool = Field(
        default=True,
        validation_alias="PUBLIC_LISTINGS",
        description="Whether lists of models and voices are readable without a key (Open WebUI needs it).",
    )
    max_upload_mb: PositiveInt = Field(
        default=2048, validation_alias="MAX_UPLOAD_MB", description="Largest request body in MiB."
    )
    model_load_timeout: float = Field(
        default=120.0,
        gt=0,
        validation_alias="MODEL_LOAD_TIMEOUT",
        description="Seconds a request waits for its model to load before 503 model_loading.",
    )
    model_slots: PositiveInt = Field(
        default=2,
        validation_alias="MODEL_SLOTS",
        description="Models a service keeps loaded at the same time. Those that tell who speaks are counted apart, up "
        "to as many again: a transcription with speakers needs one of each.",
    )
    model_memory_mb: int = Field(
        default=0,
        ge=0,
        validation_alias="MODEL_MEMORY_MB",
        description="Main memory in MiB that the processes of loaded models may take together; before and after a load "
        "the least recently used idle ones make room. 0 means no limit. Those that tell who speaks are counted apart.",
    )
    model_fallback: bool = Field(
        default=False,
        validation_alias="MODEL_FALLBACK",
        description="Whether an unknown model name means the default model instead of 404.",
    )
    log_level: LogLevel = Field(default="INFO", validation_alias="LOG_LEVEL", description="DEBUG to ERROR.")
    debugpy_enable: bool = Field(
        default=False, validation_alias="DEBUGPY_ENABLE", description="Whether a debugger may attach."
    )
    debugpy_host: str = Field(
        default="127.0.0.1", validation_alias="DEBUGPY_HOST", description="Address the debugger is waited for on."
    )
    debugpy_port: int = Field(
        default=5678, ge=0, le=65535, validation_alias="DEBUGPY_PORT", description="Port of the debugger."
    )
    debugpy_wait_for_client: bool = Field(
        default=False,
        validation_alias="DEBUGPY_WAIT_FOR_CLIENT",
        description="Whether the start waits for the debugger.",
    )
    heartbeat_seconds: float = Field(
        default=0,
        ge=0,
        validation_alias="HEARTBEAT_SECONDS",
        description="Seconds after which a long answer begins with blanks, one every 15 s, for clients with a short "
        "read timeout; an error after that breaks the answer off. 0 means never.",
    )
    graceful_shutdown_seconds: PositiveInt = Field(
        default=30,
        validation_alias="GRACEFUL_SHUTDOWN_SECONDS",
        description="Seconds that requests in flight get at SIGTERM.",
    )
    places: Places = Field(default_factory=Places)

    @field_validator("cors_origins", "api_keys", "models", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split_commas(value)

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _first_is_default(self) -> Self:
        if self.models and "model" not in self.model_fields_set:
            # Settings are frozen for everybody else.
            object.__setattr__(self, "model", self.models[0])
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def is_open(self) -> bool:
        """Whether anybody on the network may use the service: other machines reach it, and no key is asked for."""
        return not self.is_loopback and not self.api_keys

    @property
    def version(self) -> str:
        """The version of voice-stack."""
        return __version__


def known_names(settings: type[BaseSettings]) -> set[str]:
    """Return the environment names that a settings class reads."""
    return {str(field.validation_alias) for field in settings.model_fields.values() if field.validation_alias}


def unknown_names(settings: type[BaseSettings], *prefixes: str, environ: dict[str, str] | None = None) -> list[str]:
    """Return names set in the environment or `.env` that start with a prefix (such as ASR_) and that nothing reads."""
    given = dict(os.environ if environ is None else environ)
    if environ is None and Path(ENV_FILE).is_file():
        given |= {name: value or "" for name, value in dotenv_values(ENV_FILE).items()}
    known = known_names(settings)
    return sorted(
        name for name in given if name.startswith(prefixes) and name not in known and name.split("__")[0] not in known
    )
