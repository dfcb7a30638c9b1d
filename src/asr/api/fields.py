"""What the requests of the routes beside transcription have in common: how their fields are read off a form."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from asr.api.schemas import FIELD_CHARS
from core import errors
from core.answers import from_validation
from utils.forms import Form


def zero_is_absent(given: object) -> object:
    """Clients in Go send 0 for what was not said."""
    return None if isinstance(given, str) and given.strip().strip("0") in {"", "."} else given


_Distance = Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)]
Distance = Annotated[_Distance | None, BeforeValidator(zero_is_absent)]
"""A cosine distance, None where none was said."""


class Fields(BaseModel):
    """Base of such requests."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    arrays: ClassVar[frozenset[str]] = frozenset()
    """The fields that are lists."""
    long: ClassVar[frozenset[str]] = frozenset()
    """Those that may have more than FIELD_CHARS characters."""

    @classmethod
    def from_form(cls, form: Form) -> Self:
        """Validate a form; empty fields count as absent. Raises InvalidRequest, and what `check` raises."""
        try:
            request = cls.model_validate(cls._given(form))
        except ValidationError as error:
            raise from_validation(error.errors(include_input=False), cls.model_fields) from error
        request.check()
        return request

    def check(self) -> None:
        """Raise InvalidRequest, or an error that is one, for fields that do not go together."""

    @classmethod
    def _given(cls, form: Form) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for name in cls.model_fields:
            try:
                value = form.array(name) if name in cls.arrays else form.scalar(name)
            except ValueError as error:
                raise errors.InvalidRequest(str(error), param=name) from error
            if name not in cls.long and any(len(text) > FIELD_CHARS for text in _texts(value)):
                raise errors.InvalidRequest(f"{name} has more than {FIELD_CHARS} characters", param=name)
            if value not in (None, []):
                given[name] = value
        return given


def _texts(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []
