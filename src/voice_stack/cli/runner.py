"""Running one service in this process: settings, checks before the start, the socket, and the `ready:` line."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import uvicorn
from pydantic import ValidationError
from pydantic_settings import SettingsError

from core import devices, logs
from core.errors import ConfigurationError, ModelBroken, VoiceStackError
from core.settings import ServiceSettings, unknown_names
from utils.audio import ffmpeg

log = logging.getLogger("voice_stack")
Name = Literal["asr", "tts"]
_SETTINGS = {"asr": "AsrSettings", "tts": "TtsSettings"}
_PREFIXES = {"asr": ("ASR_", "DIARIZATION_"), "tts": ("TTS_",)}
MAX_HEADER_BYTES = 16_384


def load_settings(name: Name) -> Any:
    """Return the settings of a service; ConfigurationError says in one line what is wrong with them."""
    cls = getattr(import_module(f"{name}.settings"), _SETTINGS[name])
    try:
        return cls()
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except SettingsError as error:
        # The error knows the field only within its text.
        names = [str(field.validation_alias) for key, field in cls.model_fields.items() if f'"{key}"' in str(error)]
        raise ConfigurationError(f"setting {', '.join(names)}: not valid JSON ({error})") from error


def with_folder(settings: Any, model: str | None, *, setting: str = "model") -> tuple[Any, str | None]:
    """Return settings whose default model is the folder or file that `model` leads to, and the name left to ask for.

    `setting` is the field of the default model.
    The services themselves never take a requested name for a path; the default model's name, an operator's, may be one.
    """
    looks = model is not None and (os.sep in model or model.startswith(("~", ".")))
    if model is not None and looks and Path(model).expanduser().exists():
        return settings.model_copy(update={setting: model}), None
    return settings, model


def run(name: Name) -> int:
    """Run the service until it is told to stop; return the exit status."""
    settings = load_settings(name)
    logs.setup(settings.log_level)
    _report(name, settings)
    _check_devices(name, settings)
    _find_ffmpeg()
    listener = _listen(settings.host, settings.port)
    app = import_module(f"{name}.app").create_app(settings)
    config = uvicorn.Config(
        app,
        # h11 bounds the size of headers, httptools takes 20 MB of them.
        http="h11",
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=settings.graceful_shutdown_seconds,
    )
    return asyncio.run(_serve(_Server(config, app.state.service), listener, app.state.service))


def run_reloading(name: Name) -> int:
    """Run the service in a child that starts again whenever a source file changes."""
    settings = load_settings(name)
    root = Path(sys.modules["core"].__path__[0]).parent
    uvicorn.run(
        f"{name}.app:create_app",
        factory=True,
        reload=True,
        reload_dirs=[str(root)],
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level.lower(),
    )
    return 0


def _report(name: Name, settings: ServiceSettings) -> None:
    """Say what a sysadmin should know before the start."""
    for unknown in unknown_names(type(settings), *_PREFIXES[name]):
        log.warning("nothing reads the setting %s; docs/configuration.md lists what there is", unknown)
    if settings.is_open:
        log.warning(
            "listening on %s without API_KEYS: everybody who reaches it may use the service, nobody may change it",
            settings.host,
        )
    if settings.debugpy_enable:
        _attach_debugger(settings)


def _check_devices(name: Name, settings: Any) -> None:
    """Raise ConfigurationError for a device that was asked for and is not there."""
    found = devices.hardware()
    for index in settings.device_index:
        devices.choose(settings.device, found, index=index)
    if name == "asr":
        devices.choose(settings.diarization_device, found, index=settings.device_index[0])


def _find_ffmpeg() -> None:
    """Look for ffmpeg now: the first look takes 200 ms, which no request should pay."""
    try:
        ffmpeg.executable()
    except ffmpeg.FfmpegMissing as error:
        raise ConfigurationError(str(error)) from error


def _attach_debugger(settings: ServiceSettings) -> None:
    try:
        debugpy = import_module("debugpy")
    except ImportError:
        raise ConfigurationError("DEBUGPY_ENABLE needs debugpy: pip install 'voice-stack[debug]'") from None
    debugpy.listen((settings.debugpy_host, settings.debugpy_port))
    log.warning("a debugger may attach at %s:%d", settings.debugpy_host, settings.debugpy_port)
    if settings.debugpy_wait_for_client:
        debugpy.wait_for_client()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    # asyncio sets this only on sockets of protocol TCP, which create_server's (protocol 0) are not. Without it every
    # answer on a kept connection waits 40 ms for the client's delayed ACK. Accepted sockets inherit it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class _Server(uvicorn.Server):
    """Tells the service that it is about to end before it waits for the requests in flight."""

    def __init__(self, config: uvicorn.Config, service: Any) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.drain()
        await super().shutdown(sockets)


async def _serve(server: uvicorn.Server, listener: socket.socket, service: Any) -> int:
    announce = asyncio.create_task(_announce(server, listener, service))
    await server.serve(sockets=[listener])
    announce.cancel()
    result = (await asyncio.gather(announce, return_exceptions=True))[0]
    if isinstance(result, ConfigurationError):
        raise result
    return 0


async def _announce(server: uvicorn.Server, listener: socket.socket, service: Any) -> None:
    """Print the address once the service answers; stop the service when its configuration cannot work."""
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    try:
        await service.host.loaded()
    except ConfigurationError as error:
        if not isinstance(error, ModelBroken):
            server.should_exit = True
            raise
        print(f"not ready: {address} {error.message}", flush=True)  # noqa: T201 - the command's output
        return
    except VoiceStackError as error:
        print(f"not ready: {address} {error.message}", flush=True)  # noqa: T201 - the command's output
        return
    print(f"ready: {address}", flush=True)  # noqa: T201 - the command's output
