"""What a request may ask of a diarization: checked before any work begins, by what its engine says it can do."""

from __future__ import annotations

from typing import Final

from asr.diarization.engine import Capabilities, DiarizeOptions
from core.errors import InvalidRequest, UnsupportedParameter

MAX_SPEAKERS: Final = 100
MAX_THRESHOLD: Final = 2.0
"""The largest cosine distance."""
MAX_SECONDS: Final = 60.0
"""Of the pauses that are closed, and of the turns that are dropped."""


def check(options: DiarizeOptions, can: Capabilities) -> None:
    """Raise InvalidRequest for what makes no sense, UnsupportedParameter for what the engine cannot be told.

    Both name the field of the request, which for some options has another name than ours.
    """
    _check_counts(options, can)
    _check_bounds(options)
    _check_threshold(options.threshold, can)
    for name, seconds in (("min_duration_on", options.min_on), ("min_duration_off", options.min_off)):
        # Said so that not-a-number is refused too.
        if not 0 <= seconds <= MAX_SECONDS:
            raise InvalidRequest(f"{name} is in seconds, from 0 to {MAX_SECONDS:g}", param=name)


def _check_counts(options: DiarizeOptions, can: Capabilities) -> None:
    for name in ("num_speakers", "min_speakers", "max_speakers"):
        count: int | None = getattr(options, name)
        if count is None:
            continue
        if not 1 <= count <= MAX_SPEAKERS:
            raise InvalidRequest(f"{name} must be from 1 to {MAX_SPEAKERS}", param=name)
        if not can.hints:
            raise UnsupportedParameter(f"this model cannot be told how many speakers there are ({name})", param=name)
        if name != "max_speakers" and can.max_speakers is not None and count > can.max_speakers:
            raise InvalidRequest(f"this model tells at most {can.max_speakers} speakers apart", param=name)


def _check_bounds(options: DiarizeOptions) -> None:
    least, most, count = options.min_speakers or 1, options.max_speakers or MAX_SPEAKERS, options.num_speakers
    if least > most:
        raise InvalidRequest("min_speakers is greater than max_speakers", param="min_speakers")
    if count is not None and not least <= count <= most:
        raise InvalidRequest("num_speakers is not between min_speakers and max_speakers", param="num_speakers")


def _check_threshold(threshold: float | None, can: Capabilities) -> None:
    param = "clustering_threshold"
    if threshold is None:
        return
    if not can.threshold:
        raise UnsupportedParameter("this model has no threshold that could be set", param=param)
    if not 0 < threshold <= MAX_THRESHOLD:
        raise InvalidRequest(f"{param} is a distance, above 0 and at most {MAX_THRESHOLD:g}", param=param)
