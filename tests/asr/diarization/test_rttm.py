"""RTTM: ten fields a line, whatever the names are."""

from __future__ import annotations

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization.engine import Turn
from asr.diarization.rttm import rttm


def test_a_line_for_each_turn() -> None:
    found = rttm([Turn(0.5, 2.25, 0), Turn(2, 3, 1)], ["SPEAKER_00", "SPEAKER_01"], recording="talk")
    assert found == (
        "SPEAKER talk 1 0.500 1.750 <NA> <NA> SPEAKER_00 <NA> <NA>\n"
        "SPEAKER talk 1 2.000 1.000 <NA> <NA> SPEAKER_01 <NA> <NA>\n"
    )


def test_blanks_in_names_do_not_make_more_fields() -> None:
    (line,) = rttm([Turn(0, 1, 0)], ["Ann \t of\n Arc"], recording=" my  talk.wav ").splitlines()
    assert len(line.split()) == 10
    assert line.split()[1] == "my_talk.wav"
    assert line.split()[7] == "Ann_of_Arc"


def test_a_recording_without_a_name_has_one() -> None:
    assert rttm([Turn(0, 1, 0)], ["A"], recording=" ").split()[1] == "audio"
    assert rttm([], [], recording="talk") == ""
