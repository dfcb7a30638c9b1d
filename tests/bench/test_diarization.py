"""`make bench-diarization`: which figures there are, how answers are judged, and tiny runs of the fake engines."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench import conversations, diarization, diarization_engines, diarization_service, results, verification
from bench.conversations import AMI, CONV2, CONV3, NOISY, SAMPLE, Conversation
from bench.der import STRICT, NoMetrics, Rates, Scored, score
from bench.diarization_plan import FAST, GE2E, OURS, PARTS, DiarizationBench, DiarizationPlan, chosen
from bench.diarization_service import BOTH, DIARIZATION, TRANSCRIPTION, Asked
from bench.diarization_sides import Found, Voice, loaded
from bench.parts import Part
from bench.speech import Clip, NoSpeech
from core.model_entry import ModelRef

FAKE = ModelRef(id="fake-diarizer", task="speaker-diarization", engine="fake-diarizer", weightless=True)
TURNS = ((0.0, 2.0, "ann"), (2.0, 4.0, "bob"))


def found(*turns: tuple[float, float, str]) -> Found:
    return Found(turns, seconds=1.0, cpu_seconds=1.0, peak_mb=100.0)


def rates(der: float, confusion: float = 0.0) -> Rates:
    return Rates(der, confusion, missed=der - confusion, false_alarm=0.0)


# --- figures and rows ---------------------------------------------------------------------------


def test_every_figure_belongs_to_a_part() -> None:
    assert set(diarization.OWNERS) == {figure.key for figure in results.DIARIZATION}
    assert set(diarization.OWNERS.values()) == set(PARTS) == set(diarization.MEASURES)


def test_the_figures_are_those_of_community1_and_the_margin_is_to_the_better_other() -> None:
    by = {
        OURS: {SAMPLE: rates(5.0), AMI: rates(30.0), NOISY: rates(9.0, 4.0)},
        FAST: {SAMPLE: rates(1.0), AMI: rates(45.0), NOISY: rates(1.0)},
        GE2E: {SAMPLE: rates(1.0), AMI: rates(42.5), NOISY: rates(1.0)},
    }
    assert diarization_engines.der_figures(by) == {
        "der_sample": 5.0, "der_ami_m1": 30.0, "confusion_conv2_noise10dB": 4.0, "der_ami_m1_margin": 12.5,
    }  # fmt: skip
    del by[GE2E]
    assert "der_ami_m1_margin" not in diarization_engines.der_figures(by)


@pytest.mark.parametrize(("margin", "met"), [(0.0, False), (0.5, True)])
def test_the_other_engines_must_be_worse(margin: float, met: bool) -> None:
    (figure,) = [one for one in results.DIARIZATION if one.key == "der_ami_m1_margin"]
    target = figure.target_in({})
    assert target is not None
    assert target.is_met(margin) == met


def test_speakers_are_counted_where_they_must_be_right() -> None:
    spoken = [Conversation(name, Path(), TURNS) for name in (SAMPLE, CONV2, CONV3, AMI)]
    heard = {SAMPLE: found(*TURNS), CONV2: found(*TURNS, (5.0, 6.0, "eve")), CONV3: found(TURNS[0]), AMI: found()}
    assert diarization_engines.count_errors(spoken, heard) == 2


def test_a_row_has_the_rates_of_every_variant() -> None:
    by = {STRICT: Rates(10.0, 4.0, 3.5, 2.5), "collar 0.25": rates(1.0)}
    row = diarization_engines.der_row(OURS, Conversation(SAMPLE, Path(), TURNS), found(TURNS[0]), by)
    assert (row["speakers"], row["found"]) == (2, 1)
    assert (row["DER %, collar 0"], row["DER %, collar 0.25"]) == (10.0, 1.0)
    assert (row["confusion %"], row["missed %"], row["false alarm %"]) == (4.0, 3.5, 2.5)


def test_voices_of_whole_clips_are_figures() -> None:
    heard = [Voice((1.0, 0.0), 1.0), Voice((1.0, 0.1), 1.0), Voice((0.0, 1.0), 1.0), Voice((0.1, 1.0), 1.0)]
    row = diarization_engines.voice_row(OURS, None, heard, ["ann", "ann", "bob", "bob"], 0.5)
    assert (row["pairs of one"], row["pairs of two"], row["speech"]) == (2, 4, "whole clips")
    assert diarization_engines.voice_figures(OURS, row) == {
        "eer_librispeech": 0.0, "frr_librispeech": 0.0, "far_librispeech": 0.0,
    }  # fmt: skip
    assert diarization_engines.voice_figures(GE2E, row) == {"eer_librispeech_ge2e": 0.0}


def test_parts_are_chosen_by_name() -> None:
    assert chosen("") == PARTS
    assert chosen(" both,der ") == ("der", "both")
    with pytest.raises(ValueError, match="no part eer"):
        chosen("der,eer")


# --- verification -------------------------------------------------------------------------------


def test_pairs_are_of_one_speaker_or_of_two() -> None:
    same, other = verification.pairs([[1, 0], [2, 0], [0, 3]], ["ann", "ann", "bob"])
    assert same == pytest.approx([0.0])
    assert other == pytest.approx([1.0, 1.0])


def test_errors_at_a_threshold() -> None:
    same, other = np.array([0.1, 0.2, 0.3, 0.6]), np.array([0.5, 0.7, 0.8, 0.9])
    assert verification.errors(same, other, 0.5) == (25.0, 25.0)
    assert verification.errors(same, other, 0.4) == (25.0, 0.0)
    assert verification.equal_error_rate(same, other) == 25.0
    assert verification.equal_error_rate(same[:3], other) == 0.0
    with pytest.raises(ValueError, match="pairs"):
        verification.equal_error_rate(same, other[:0])


# --- names and both tasks -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heard", "right"),
    [
        ([(0.0, 4.0, "ann")], [True, False]),
        ([(0.0, 1.2, "ann"), (1.2, 2.0, "bob"), (2.0, 4.0, "bob")], [True, True]),
        ([(0.0, 2.0, "bob"), (0.0, 2.0, "ann"), (2.0, 4.0, "SPEAKER_01")], [True, False]),
        ([], [False, False]),
    ],
)
def test_a_turn_has_the_name_of_who_has_most_of_it(heard: list[tuple[float, float, str]], right: list[bool]) -> None:
    turns = [*TURNS, (5.0, 5.9, "ann")]  # the last one is too short to be asked for
    assert diarization_service.judged(turns, heard) == right


@pytest.mark.parametrize(
    ("transcription", "diarized", "cores", "least"),
    [((10.0, 18.0), (4.0, 4.0), 2, 11.0), ((10.0, 10.0), (4.0, 4.0), 2, 10.0), ((10.0, 18.0), (4.0, 4.0), 1, 22.0)],
)
def test_the_ideal_is_the_longer_task_or_all_work_on_all_cores(
    transcription: tuple[float, float], diarized: tuple[float, float], cores: int, least: float
) -> None:
    runs = {TRANSCRIPTION: [Asked({}, *transcription)], DIARIZATION: [Asked({}, *diarized)]}
    assert diarization_service.ideal(runs, cores=cores) == least


@pytest.mark.parametrize(
    ("speakers", "text", "fails"), [("AB", "hello", False), ("A", "hello", True), ("AB", " ", True)]
)
def test_an_answer_that_lacks_something_is_a_failure(speakers: str, text: str, fails: bool) -> None:
    part = Part()
    answer = {"text": text, "segments": [{"speaker": one} for one in speakers]}
    diarization_service.check_both(part, Conversation(CONV2, Path(), TURNS), [Asked(answer, 1.0, 1.0)])
    assert bool(part.failures) == fails


# --- recordings ---------------------------------------------------------------------------------


def noise(path: Path, seconds: float, rate: int = 16_000) -> Path:
    samples = np.random.default_rng(1).normal(scale=0.1, size=round(seconds * rate))
    soundfile.write(path, samples, rate)
    return path


def test_turns_of_an_rttm_file(tmp_path: Path) -> None:
    path = tmp_path / "a.rttm"
    path.write_text(
        "SPEAKER a 1 0.500 1.250 <NA> <NA> Zoë <NA> <NA>\n\nSPEAKER a 1 2 1 <NA> <NA> b <NA> <NA>\n", "utf-8"
    )
    assert conversations.turns_of(path) == ((0.5, 1.75, "Zoë"), (2.0, 3.0, "b"))


def test_a_recording_is_prepared_once(tmp_path: Path) -> None:
    source = noise(tmp_path / "x.flac", 0.5, rate=8_000)
    spoken = Conversation("x", conversations.prepared(source, tmp_path))
    assert (spoken.pcm.sample_rate, spoken.pcm.channels) == (16_000, 1)
    assert spoken.pcm.duration == pytest.approx(0.5, abs=0.01)
    source.unlink()
    assert conversations.prepared(source, tmp_path) == spoken.path


def test_a_reference_is_of_what_is_not_in_the_conversation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "ROOT", tmp_path)
    (tmp_path / "conversation").mkdir()
    (tmp_path / "conversation" / "conv2_clean.tsv").write_text("start\tend\tspeaker\tutt\ttext\n0\t1\t7\t7-1-0\thi\n")
    clips = [Clip(noise(tmp_path / f"{name}.flac", 1.5), 1.5, "") for name in ("7-1-0", "7-1-1", "7-1-2", "8-1-1")]
    made = conversations.reference("7", CONV2, clips, tmp_path / "7.wav", 2.5)
    samples, _ = soundfile.read(made)
    assert len(samples) == 40_000
    assert samples[:24_000] == pytest.approx(soundfile.read(clips[1].path)[0], abs=1e-4)
    with pytest.raises(NoSpeech, match="of 8"):
        conversations.reference("8", CONV2, clips, tmp_path / "8.wav", 2.5)


def test_recordings_that_are_not_there_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoSpeech, match="VOICE_STACK_TEST_DATA"):
        conversations.nospeech(tmp_path, root=tmp_path / "nowhere")


# --- error rates --------------------------------------------------------------------------------


def test_error_rates_are_those_of_pyannote() -> None:
    halved = ((0.0, 5.0, "x"), (5.0, 10.0, "y"))
    overlapping = ((0.0, 10.0, "ann"), (8.0, 10.0, "bob"))
    try:
        one, late, other = score(
            [
                Scored([(0.0, 10.0, "ann")], halved, 12.0),
                Scored([(0.0, 10.0, "ann")], [(0.2, 10.0, "x"), (10.0, 11.0, "x")], 12.0),
                Scored(overlapping, [(0.0, 10.0, "x")], 10.0),
            ]
        )
    except NoMetrics:
        pytest.skip("the environment of `make bench-env` is not there")
    assert one[STRICT] == Rates(50.0, 50.0, 0.0, 0.0)
    assert late[STRICT].missed == pytest.approx(2.0)
    assert late[STRICT].false_alarm == pytest.approx(10.0)
    assert late["collar 0.25"].missed == pytest.approx(0.0)
    assert other[STRICT].missed == pytest.approx(100 * 2 / 12)
    assert other["collar 0, no overlap"].der == pytest.approx(0.0)


def test_without_the_environment_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bench.environments.FOLDER", tmp_path)
    with pytest.raises(NoMetrics, match="make bench-env"):
        score([])


# --- real runs ----------------------------------------------------------------------------------


@pytest.mark.e2e
def test_an_engine_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = conversations.prepared(noise(tmp_path / "x.flac", 8.0), tmp_path)
    with loaded(FAKE, threads=1, one_core=True) as engine:
        heard = engine.diarize(path)
        facts = engine.facts
    assert heard.speakers == 2
    assert heard.turns[0][:2] == (0.0, 2.0)
    assert heard.peak_mb > 10
    assert heard.seconds > 0
    assert facts["encoder"]["verify"] == 0.3


@pytest.fixture
def bench(tmp_path: Path) -> DiarizationBench:
    fakes = {
        "ASR_MODEL": "fake", "ASR_ENGINE": "fake", "ASR_VAD_ENABLED": "false",
        "DIARIZATION_MODEL": "fake-diarizer", "DIARIZATION_ENGINE": "fake-diarizer",
    }  # fmt: skip
    clips = [
        Clip(noise(tmp_path / f"{name}.flac", 1.0 + number), 1.0 + number, "") for number, name in enumerate("abc")
    ]
    plan = DiarizationPlan(models={OURS: FAKE}, threads=1, settings=fakes, rounds=1, hour_seconds=12.0)
    return DiarizationBench(plan, tmp_path, clips, lambda _: None)


@pytest.mark.e2e
def test_speed_and_memory_of_an_engine(bench: DiarizationBench, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = Conversation(CONV2, conversations.prepared(bench.clips[2].path, bench.folder), TURNS)
    monkeypatch.setattr(conversations, "conversations", lambda *_: [spoken])
    timed = diarization_engines.speed(bench)
    assert timed.figures["rtfx_one_core"] > 0
    assert timed.notes == [
        "fast was left out: run `voice-stack models pull wespeaker-resnet34-lm`",
        "ge2e was left out: run `voice-stack models pull ge2e`",
    ]
    measured = diarization_engines.memory(bench)
    # Twelve seconds are no hour.
    assert measured.figures == {}
    assert measured.failures == []
    assert [row["engine"] for row in measured.rows] == [OURS]


@pytest.mark.e2e
def test_both_tasks_of_a_service(bench: DiarizationBench, monkeypatch: pytest.MonkeyPatch) -> None:
    path = conversations.prepared(noise(bench.folder / "talk.flac", 8.0), bench.folder)
    monkeypatch.setattr(conversations, "conversations", lambda *_: [Conversation(CONV2, path, TURNS)])
    part = diarization_service.both(bench)
    assert part.figures["both_wall_over_ideal"] > 0
    assert part.details["ideal, s"] > 0
    assert [row["request"] for row in part.rows] == [TRANSCRIPTION, DIARIZATION, BOTH]


@pytest.mark.e2e
def test_a_part_that_fails_fails_the_run(
    bench: DiarizationBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = dataclasses.replace(bench.plan, parts=("memory",), models={OURS: dataclasses.replace(FAKE, engine="none")})
    write = results.write
    monkeypatch.setattr(diarization, "clips", lambda: bench.clips)
    monkeypatch.setattr(DiarizationPlan, "from_environment", lambda: broken)
    monkeypatch.setattr(results, "LATEST", tmp_path)
    monkeypatch.setattr(results, "write", lambda name, result, _=None: write(name, result, tmp_path))
    assert diarization.main() == 1
    assert "broken off" in results.read(tmp_path / "diarization.json").failures[0]
    capsys.readouterr()
