"""How answers are written: JSON, streams that end with their client, errors in the one shape that clients read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any
from urllib.parse import quote

import orjson
from pydantic.fields import FieldInfo
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from core import errors
from core.disconnect import until_disconnect
from core.errors import VoiceStackError

MODEL_HEADER = "x-voice-stack-model"
"""Says which model answered."""
ERROR_HEADER = "x-voice-stack-error"
"""The code of an error, also where its body is plain text."""


class JsonResponse(Response):
    """JSON by orjson; NaN becomes null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the bytes of `content`; dataclasses are welcome."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


class Stream(StreamingResponse):
    """An answer sent as it is made, whose maker is closed when the answer or the connection ends.

    Starlette's own response leaves a generator that waits in a `yield` to the garbage collector, and cancels one that
    waits elsewhere again at every await of its cleanup; either way what it holds (a worker, an encoder) would stay.
    What the maker needs goes into `held`, not into the maker: one that never began to run has nothing to clean up with.
    """

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        headers: Mapping[str, str],
        held: AsyncExitStack | None = None,
    ) -> None:
        super().__init__(parts, media_type=media_type, headers=headers)
        self._parts = parts
        self._held = held or AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the parts, then close their maker and what it held."""
        del scope
        async with self._held, aclosing(self._parts):
            await until_disconnect(receive, self.stream_response(send))


def header_text(text: str) -> str:
    """Return a name as a header can carry it: what is not plain ASCII is percent-encoded."""
    return quote(text, safe=" !#$&'()*+,-./:;=?@[]_~")


def error_response(error: VoiceStackError, *, text: bool = False) -> Response:
    """Return the answer to a request that failed: OpenAI's envelope, or a line of `text` for clients without JSON."""
    headers = {**error.headers(), ERROR_HEADER: error.code}
    if text:
        return Response(f"{error.message}\n", error.status, headers, "text/plain")
    return JsonResponse({"error": error.to_dict()}, status_code=error.status, headers=headers)


def from_validation(problems: Any, fields: Mapping[str, FieldInfo] | None = None) -> VoiceStackError:
    """Return the first of pydantic's problems as an error of ours; the input itself is never repeated.

    With the model's `fields` the message names both ends of a number's range.
    """
    first = problems[0]  # pydantic's own list type is private
    place = [str(part) for part in first["loc"] if part not in {"body", "query", "path", "header"}]
    # Only the field: what is below it (an index, a branch of a union) is our affair.
    param = place[0] if place else None
    if first["type"] == "missing":
        return errors.MissingParameter(f"the parameter {param!r} is required", param=param)
    text = str(first["msg"]).removeprefix("Value error, ")
    field = (fields or {}).get(param or "")
    return errors.InvalidRequest(f"invalid value for {param!r}: {text}{_range(field)}", param=param)


def _range(field: FieldInfo | None) -> str:
    """Return the range of a number, of which pydantic tells the end that was passed only; "" where it has none."""
    limits = field.metadata if field else []
    low, high = ([value for each in limits if (value := getattr(each, end, None)) is not None] for end in ("ge", "le"))
    return f"; it may be from {low[0]} to {high[0]}" if low and high else ""
