"""What a request to make a voice may say, validated."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from core import errors
from tts.api.uploads import the_recording
from tts.library import check_name
from utils import languages
from utils.forms import Form
from utils.uploads import UploadedFile

log = logging.getLogger(__name__)

RECORDING_FIELDS = ("audio_sample", "file", "audio")
MAX_REFERENCE_CHARS = 4096
_ATTESTATIONS = ("consent_confirmed", "consent_attestation")
_SHOWN_CHARS = 200
_TEXT = {"type": "string"}
REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["name", "audio_sample"],
                "properties": {
                    "name": _TEXT,
                    "audio_sample": {"type": "string", "format": "binary"},
                    "consent": _TEXT,
                    "type": {"type": "string", "enum": ["audio_sample"], "default": "audio_sample"},
                    "reference_text": _TEXT,
                    "language": _TEXT,
                },
            }
        }
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVoice:
    """A voice to be made from a recording; `consent` is the id of a consent, not looked up yet."""

    name: str
    recording: UploadedFile
    consent: str | None
    language: str | None
    reference_text: str | None

    @classmethod
    def from_form(cls, form: Form) -> NewVoice:
        """Validate a form. Raises InvalidRequest and its kin, FileTooLarge."""
        _check_type(form.scalar("type") or "audio_sample")
        name = form.scalar("name")
        if name is None:
            raise errors.MissingParameter("the parameter 'name' is required", param="name")
        name = check_name(name)
        log_attestations(f"voice {name!r}", {field: form.scalar(field) for field in _ATTESTATIONS})
        return cls(
            name=name,
            recording=the_recording(form, RECORDING_FIELDS),
            consent=form.scalar("consent"),
            language=_language(form.scalar("language")),
            reference_text=_reference_text(form.scalar("reference_text")),
        )


def _check_type(kind: str) -> None:
    if kind == "prompt":
        raise errors.UnsupportedParameter(
            "no engine here makes voices from a prompt; send type=audio_sample with a recording", param="type"
        )
    if kind != "audio_sample":
        raise errors.InvalidRequest("unknown type; use one of: audio_sample", param="type")


def _language(given: str | None) -> str | None:
    try:
        return languages.parse(given)
    except ValueError as error:
        raise errors.InvalidRequest(f"invalid value for 'language': {error}", param="language") from error


def _reference_text(given: str | None) -> str | None:
    if given and len(given) > MAX_REFERENCE_CHARS:
        raise errors.TextTooLong(
            f"reference_text has more than {MAX_REFERENCE_CHARS} characters", param="reference_text"
        )
    return given and given.strip()


def log_attestations(who: str, said: Mapping[str, str | bool | None]) -> None:
    """Keep in the log what clients of other servers confirm about the speaker's consent."""
    for field, value in said.items():
        if value is not None:
            log.info("%s: %s=%r", who, field, value[:_SHOWN_CHARS] if isinstance(value, str) else value)
