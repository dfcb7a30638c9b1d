import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import timestamps


@pytest.mark.parametrize(
    ("seconds", "srt"),
    [
        (0, "00:00:00,000"),
        (0.0004, "00:00:00,000"),
        (1.9996, "00:00:02,000"),
        (59.9999, "00:01:00,000"),
        (3599.9995, "01:00:00,000"),
        (3661.25, "01:01:01,250"),
        (360000.001, "100:00:00,001"),
        (-0.5, "00:00:00,000"),
    ],
)
def test_fractions_carry_into_seconds_minutes_and_hours(seconds: float, srt: str) -> None:
    assert timestamps.srt(seconds) == srt
    assert timestamps.vtt(seconds) == srt.replace(",", ".")


@pytest.mark.parametrize(
    ("seconds", "lrc"), [(0, "00:00.00"), (61.239, "01:01.23"), (59.9999, "01:00.00"), (6000.5, "100:00.50")]
)
def test_lyrics_count_minutes_and_hundredths(seconds: float, lrc: str) -> None:
    assert timestamps.lrc(seconds) == lrc


@given(st.floats(0, 400_000))
def test_a_timestamp_reads_back_as_the_nearest_millisecond(seconds: float) -> None:
    match = re.fullmatch(r"(\d{2,}):([0-5]\d):([0-5]\d),(\d{3})", timestamps.srt(seconds))
    assert match is not None
    hours, minutes, whole, milliseconds = map(int, match.groups())
    read = (hours * 3600 + minutes * 60 + whole) * 1000 + milliseconds
    assert abs(read - seconds * 1000) <= 0.5 + 1e-6
    assert read == timestamps.milliseconds(seconds)
