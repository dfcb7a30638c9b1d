"""Every error this project raises on purpose, and how each one looks on the wire.

    VoiceStackError
    ├── InvalidRequest 400 (invalid_value)
    │   ├── MissingParameter        missing_required_parameter
    │   ├── UnsupportedParameter    unsupported_parameter
    │   ├── UnsupportedFormat       unsupported_format
    │   ├── InvalidAudio            invalid_audio
    │   ├── UnprocessableAudio      unprocessable_audio   (its SHA-256 killed a worker twice)
    │   ├── VoiceNotFound           voice_not_found
    │   └── TextTooLong             string_above_max_length
    ├── InvalidApiKey 401           invalid_api_key
    ├── Forbidden 403               forbidden
    │   ├── LicenceNotAccepted      licence_not_accepted
    │   └── VoiceprintsDisabled     voiceprints_disabled
    ├── NotFound 404                not_found
    │   └── ModelNotFound           model_not_found
    ├── MethodNotAllowed 405        method_not_allowed
    ├── Conflict 409                conflict
    │   ├── AlreadyExists           already_exists
    │   ├── IdempotencyConflict     idempotency_conflict
    │   └── JobNotFinished          job_not_finished
    ├── FileTooLarge 413            file_too_large
    ├── AudioTooLong 413            audio_too_long
    ├── UnsupportedMediaType 415    unsupported_media_type
    ├── QueueFull 429               queue_full
    ├── InternalError 500           internal_error
    │   └── ConfigurationError      (refuses to start)
    │       └── ModelBroken 503     model_broken
    ├── NotSupported 501            not_supported
    ├── Unavailable 503             unavailable
    │   ├── EngineCrashed           engine_crashed
    │   │   └── CrashedByRequest    engine_crashed        (it was alone on the device)
    │   ├── InsufficientMemory      insufficient_memory
    │   │   └── DeviceOutOfMemory 500   out_of_memory
    │   ├── DecoderFailed           decoder_failed
    │   ├── ModelLoading            model_loading
    │   ├── PullFailed              pull_failed
    │   └── Draining                draining
    ├── DeadlineExceeded 504        deadline_exceeded
    └── InsufficientStorage 507     insufficient_storage

`retry` is what the client is told: False sends `x-should-retry: false` (the same request fails again), a number
sends `Retry-After` seconds, None says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

ECHOED = 200
"""The most characters of a name, a path or a method that are told back to its sender, or to the log."""


def shortened(text: str) -> str:
    """Return what a client sent as messages and log lines repeat it: cut where it is too long to be read."""
    return text if len(text) <= ECHOED else f"{text[:ECHOED]}…"


class VoiceStackError(Exception):
    """Base of the tree. `message` is for the client: it never holds a path, a traceback or other people's data."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    retry: ClassVar[Literal[False] | int | None] = None

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after: int | None = None
        """Seconds, where this one error knows better than its class."""
        self.is_final = False
        """Whether this one fails again whatever its class says."""
        self.model: str | None = None
        """The id of the model that failed, None where it was none; for this process, it is not dumped."""

    def to_dict(self) -> dict[str, str | None]:
        """Return the four fields of OpenAI's error object."""
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}

    def headers(self) -> dict[str, str]:
        """Return the headers that tell a client whether trying again makes sense."""
        if self.is_final:
            return {"x-should-retry": "false"}
        if self.retry_after is not None:
            return {"Retry-After": str(self.retry_after)}
        if self.retry is None:
            return {}
        return {"x-should-retry": "false"} if self.retry is False else {"Retry-After": str(self.retry)}


class InvalidRequest(VoiceStackError):
    """A field of the request has a value that cannot be used."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"
    retry = False


class MissingParameter(InvalidRequest):
    """A required field is absent or empty."""

    code = "missing_required_parameter"


class UnsupportedParameter(InvalidRequest):
    """The engine cannot honour this option; it is refused instead of ignored."""

    code = "unsupported_parameter"


class UnsupportedFormat(InvalidRequest):
    """The response format or the container is not one we handle."""

    code = "unsupported_format"


class InvalidAudio(InvalidRequest):
    """The upload is empty, has no audio stream, or cannot be decoded."""

    code = "invalid_audio"


class UnprocessableAudio(InvalidRequest):
    """The same upload ended the engine's process twice within an hour."""

    code = "unprocessable_audio"


class VoiceNotFound(InvalidRequest):
    """No installed voice of the model has this name."""

    code = "voice_not_found"


class TextTooLong(InvalidRequest):
    """The text to speak is longer than the service accepts."""

    code = "string_above_max_length"


class UnsupportedTask(InvalidRequest):
    """The model cannot do what was asked, for example translate."""

    code = "unsupported_task"


class InvalidApiKey(VoiceStackError):
    """The API key is missing or wrong."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    retry = False
    for_browser = False
    """Whether a browser is to ask its user for the key, as the password."""

    def headers(self) -> dict[str, str]:
        """Add the challenge that RFC 9110 asks of a 401."""
        return {**super().headers(), "WWW-Authenticate": 'Basic realm="voice-stack"' if self.for_browser else "Bearer"}


class Forbidden(VoiceStackError):
    """The service does not allow this here."""

    status = 403
    type = "permission_error"
    code = "forbidden"
    retry = False


class LicenceNotAccepted(Forbidden):
    """The model's licence restricts its use and was not accepted."""

    code = "licence_not_accepted"


class VoiceprintsDisabled(Forbidden):
    """People's voices are neither registered nor recognised here: VOICEPRINTS is off."""

    code = "voiceprints_disabled"


class NotFound(VoiceStackError):
    """No such path or object."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"
    retry = False


class ModelNotFound(NotFound):
    """The model is unknown, or known but not pulled."""

    code = "model_not_found"


class MethodNotAllowed(VoiceStackError):
    """The path exists but not for this HTTP method."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"
    retry = False


class Conflict(VoiceStackError):
    """What is there already, or its state, does not allow this."""

    status = 409
    type = "conflict"
    code = "conflict"
    retry = False


class AlreadyExists(Conflict):
    """Something else has this name."""

    code = "already_exists"


class IdempotencyConflict(Conflict):
    """The Idempotency-Key was used for another request."""

    code = "idempotency_conflict"


class JobNotFinished(Conflict):
    """The job has no result, because it still runs or was cancelled."""

    code = "job_not_finished"


class FileTooLarge(VoiceStackError):
    """The body is larger than MAX_UPLOAD_MB."""

    status = 413
    type = "invalid_request_error"
    code = "file_too_large"
    retry = False


class AudioTooLong(FileTooLarge):
    """The audio decodes to more than MAX_AUDIO_SECONDS."""

    code = "audio_too_long"


class UnsupportedMediaType(VoiceStackError):
    """The request body has a content type this route does not read."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"
    retry = False


class QueueFull(VoiceStackError):
    """More work is waiting than the service accepts."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"
    retry = 2


class InternalError(VoiceStackError):
    """Something unexpected; the details are in the log under the request id."""


class ConfigurationError(InternalError):
    """The settings contradict each other or the machine; the service refuses to start."""

    retry = False


class ModelBroken(ConfigurationError):
    """The weights of a model are damaged or incomplete; the service stays up and says so in /readyz."""

    status = 503
    code = "model_broken"


class NotSupported(VoiceStackError):
    """A known feature that no installed engine provides."""

    status = 501
    code = "not_supported"
    retry = False


class Unavailable(VoiceStackError):
    """The service cannot do this now and may be able to in a moment."""

    status = 503
    code = "unavailable"
    retry: ClassVar[Literal[False] | int | None] = 2


class EngineCrashed(Unavailable):
    """The engine's process ended while it worked on the request."""

    code = "engine_crashed"


class CrashedByRequest(EngineCrashed):
    """The engine's process ended by itself while this request was alone on the device."""


class InsufficientMemory(Unavailable):
    """The device had no memory left for the request."""

    code = "insufficient_memory"


class DeviceOutOfMemory(InsufficientMemory):
    """The GPU has no memory left for this request; the same again would keep it full."""

    status = 500
    code = "out_of_memory"
    retry = False


class DecoderFailed(Unavailable):
    """The decoder child was killed from outside; the upload may be fine."""

    code = "decoder_failed"


class ModelLoading(Unavailable):
    """The model did not finish loading within MODEL_LOAD_TIMEOUT."""

    code = "model_loading"
    retry = 10


class PullFailed(Unavailable):
    """No source could give the model; the message says why for each."""

    code = "pull_failed"
    # Whether it helps to try again depends on the reasons in the message.
    retry = None


class Draining(Unavailable):
    """The service is shutting down."""

    code = "draining"


class DeadlineExceeded(VoiceStackError):
    """The work took longer than the service allows and was stopped."""

    status = 504
    code = "deadline_exceeded"
    retry = False


class InsufficientStorage(VoiceStackError):
    """The disk for uploads or results is full."""

    status = 507
    code = "insufficient_storage"
    retry = False


@contextmanager
def of_model(model: str | None) -> Iterator[None]:
    """Note on what is raised in here which model failed, where nobody has before."""
    try:
        yield
    except VoiceStackError as error:
        if error.model is None:
            error.model = model
        raise


def _tree(root: type[VoiceStackError]) -> dict[str, type[VoiceStackError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


def dump(error: VoiceStackError) -> dict[str, Any]:
    """Return what crosses the pipe from a worker to the API process."""
    return {
        "class": type(error).__name__,
        "message": error.message,
        "param": error.param,
        "retry_after": error.retry_after,
        "is_final": error.is_final,
    }


def restore(data: dict[str, Any]) -> VoiceStackError:
    """Return the error that `dump` wrote; a class this process does not know becomes InternalError."""
    cls = _tree(VoiceStackError).get(str(data.get("class")), InternalError)
    error = cls(str(data.get("message", "")), param=data.get("param"))
    error.retry_after = data.get("retry_after")
    error.is_final = bool(data.get("is_final"))
    return error
