"""The parts of `make bench-diarization` about engines alone: errors, numbers of speakers, speed, memory, voices."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import audio, conversations, environments, verification
from bench.conversations import AMI, CONV2, CONV3, NOISY, SAMPLE, Conversation
from bench.der import ENVIRONMENT, STRICT, Rates, Scored, require_metrics, score
from bench.diarization_plan import FAST, GE2E, MODELS, OURS, DiarizationBench
from bench.diarization_sides import Found, Voice, loaded
from bench.parts import Part
from bench.results import Row
from bench.speech import recording
from utils.audio import wav

HOUR = 3600.0
COUNTED = (SAMPLE, CONV2, CONV3)
"""The conversations whose speakers must be counted right."""
TIMED = (SAMPLE, AMI, CONV2, CONV3)
PACKAGES = ("pyannote-metrics", "pyannote-core")


def der(bench: DiarizationBench) -> Part:
    """Measure the errors of every engine in every conversation. Raises NoMetrics."""
    require_metrics()
    part = Part(peers={"metrics": environments.versions(ENVIRONMENT, *PACKAGES)})
    spoken = conversations.conversations(bench.folder)
    _tell_missing(part, bench)
    rates: dict[str, dict[str, Rates]] = {}
    for name, model in bench.plan.models.items():
        with loaded(model, threads=bench.plan.threads) as engine:
            bench.say(f"{name}: {len(spoken)} conversations")
            found = {one.name: engine.diarize(one.path) for one in spoken}
        scored = score([Scored(one.turns, found[one.name].turns, one.pcm.duration) for one in spoken])
        rates[name] = {one.name: by[STRICT] for one, by in zip(spoken, scored, strict=True)}
        part.rows += [der_row(name, one, found[one.name], by) for one, by in zip(spoken, scored, strict=True)]
        if name == OURS:
            part.figures["speaker_count_errors"] = count_errors(spoken, found)
    part.figures |= der_figures(rates)
    return part


def der_row(engine: str, spoken: Conversation, found: Found, rates: Mapping[str, Rates]) -> Row:
    """Return the columns of a conversation: error rates by variant, and what the strict one is made of."""
    strict = rates[STRICT]
    return {
        "engine": engine,
        "recording": spoken.name,
        "speakers": len(spoken.speakers),
        "found": found.speakers,
        **{f"DER %, {variant}": round(one.der, 2) for variant, one in rates.items()},
        "confusion %": round(strict.confusion, 2),
        "missed %": round(strict.missed, 2),
        "false alarm %": round(strict.false_alarm, 2),
    }


def der_figures(rates: Mapping[str, Mapping[str, Rates]]) -> dict[str, float]:
    """Return the figures of rates by engine and conversation; the margin only where both other engines ran."""
    ours = rates[OURS]
    figures = {
        "der_sample": round(ours[SAMPLE].der, 2),
        "der_ami_m1": round(ours[AMI].der, 2),
        "confusion_conv2_noise10dB": round(ours[NOISY].confusion, 2),
    }
    if {FAST, GE2E} <= rates.keys():
        best = min(rates[FAST][AMI].der, rates[GE2E][AMI].der)
        figures["der_ami_m1_margin"] = round(best - ours[AMI].der, 2)
    return figures


def count_errors(spoken: Sequence[Conversation], found: Mapping[str, Found]) -> int:
    """Return in how many of the COUNTED conversations the number of speakers is wrong."""
    return sum(found[one.name].speakers != len(one.speakers) for one in spoken if one.name in COUNTED)


def counts(bench: DiarizationBench) -> Part:
    """Measure how many speakers are found where there is one, and where there is none."""
    part = Part()
    single, silent = conversations.monologues(bench.folder), conversations.nospeech(bench.folder)
    _tell_missing(part, bench)
    for name, model in bench.plan.models.items():
        with loaded(model, threads=bench.plan.threads) as engine:
            bench.say(f"{name}: {len(single)} monologues, {len(silent)} recordings without speech")
            found = {one.name: engine.diarize(one.path) for one in (*single, *silent)}
        for kind, speakers, those in (("monologue", 1, single), ("no speech", 0, silent)):
            part.rows += [
                {
                    "engine": name,
                    "recording": one.name,
                    "kind": kind,
                    "speakers": speakers,
                    "found": found[one.name].speakers,
                    "turns": len(found[one.name].turns),
                }
                for one in those
            ]
        if name == OURS:
            part.figures = {
                "monologue_count_errors": sum(found[one.name].speakers != 1 for one in single),
                "nospeech_turns": sum(len(found[one.name].turns) for one in silent),
            }
    return part


def speed(bench: DiarizationBench) -> Part:
    """Measure the speed of every engine on one core, in a process that is bound to it."""
    part = Part()
    spoken = conversations.conversations(bench.folder, TIMED)
    audio = sum(one.pcm.duration for one in spoken)
    _tell_missing(part, bench)
    for name, model in bench.plan.models.items():
        with loaded(model, threads=1, one_core=True) as engine:
            bench.say(f"{name} on one core: {audio:.0f} s of audio, {bench.plan.rounds} rounds")
            engine.diarize(spoken[0].path)
            runs = [[engine.diarize(one.path) for one in spoken] for _ in range(bench.plan.rounds)]
        taken = [sum(one.seconds for one in run) for run in runs]
        figure = "rtfx_one_core" if name == OURS else f"rtfx_one_core_{name}"
        part.figures[figure] = round(audio / statistics.median(taken), 2)
        part.samples[name] = [round(seconds, 3) for seconds in taken]
        part.rows.append(
            {
                "engine": name,
                "rounds": len(runs),
                "audio s": round(audio),
                "audio-s/s": round(audio / statistics.median(taken), 1),
                "CPU-s per audio-s": round(statistics.median(map(_cpu, runs)) / audio, 4),
                "peak MB": round(max(one.peak_mb for run in runs for one in run)),
            }
        )
    return part


def _cpu(run: Sequence[Found]) -> float:
    return sum(one.cpu_seconds for one in run)


def memory(bench: DiarizationBench) -> Part:
    """Measure the memory of every engine's process while an hour is diarized."""
    part, plan = Part(), bench.plan
    file = recording(bench.clips, bench.folder / "hour.wav", plan.hour_seconds)
    _tell_missing(part, bench)
    for name, model in plan.models.items():
        bench.say(f"{name}: {plan.hour_seconds / 60:g} minutes")
        with loaded(model, threads=plan.threads) as engine:
            found = engine.diarize(file.path)
        if not found.turns:
            part.failures.append(f"{name} heard nobody in {plan.hour_seconds / 60:g} minutes of speech")
        part.rows.append(
            {
                "engine": name,
                "minutes": plan.hour_seconds / 60,
                "speakers": len({_speaker(clip.path) for clip in bench.clips}),
                "found": found.speakers,
                "audio-s/s": round(plan.hour_seconds / found.seconds, 1),
                "peak MB": round(found.peak_mb),
            }
        )
        if name == OURS and plan.hour_seconds >= HOUR:
            part.figures["rss_60min_mb"] = round(found.peak_mb, 1)
    return part


def voices(bench: DiarizationBench) -> Part:
    """Measure how well the vectors of voices tell the speakers of LibriSpeech apart, of whole clips and of less."""
    part, plan = Part(), bench.plan
    files = [conversations.prepared(clip.path, bench.folder) for clip in bench.clips]
    speakers = [_speaker(clip.path) for clip in bench.clips]
    _tell_missing(part, bench)
    for name, model in plan.models.items():
        if name == FAST:  # its voices are community1's
            continue
        with loaded(model, threads=plan.threads) as engine:
            for seconds in plan.voice_seconds:
                bench.say(f"{name}: {len(files)} voices{f', first {seconds:g} s' if seconds else ''}")
                frames = None if seconds is None else round(seconds * audio.RATE)
                found = [engine.embed(path, frames) for path in files]
                threshold = float(engine.facts["encoder"]["verify"])
                part.rows.append(voice_row(name, seconds, found, speakers, threshold))
                if seconds is None:
                    part.figures |= voice_figures(name, part.rows[-1])
                    spoken = sum(pcm.duration for path in files if (pcm := wav.probe(path)) is not None)
                    part.details[f"{name}, audio-s/s"] = round(spoken / sum(one.seconds for one in found if one), 1)
    return part


def voice_row(
    engine: str, seconds: float | None, found: Sequence[Voice | None], speakers: Sequence[str], threshold: float
) -> Row:
    """Return the columns of voices made of so many seconds, without those that were refused."""
    known = [(one.vector, who) for one, who in zip(found, speakers, strict=True) if one is not None]
    same, other = verification.pairs([vector for vector, _ in known], [who for _, who in known])
    rejected, accepted = verification.errors(same, other, threshold)
    return {
        "engine": engine,
        "speech": "whole clips" if seconds is None else f"first {seconds:g} s",
        "too little speech": len(found) - len(known),
        "pairs of one": len(same),
        "pairs of two": len(other),
        "EER %": round(verification.equal_error_rate(same, other), 2),
        "threshold": threshold,
        "FRR %": round(rejected, 2),
        "FAR %": round(accepted, 2),
    }


def voice_figures(engine: str, row: Row) -> dict[str, float]:
    """Return the figures that the row of whole clips is."""
    rate = float(row["EER %"] or 0.0)
    if engine != OURS:
        return {f"eer_librispeech_{engine}": rate}
    return {
        "eer_librispeech": rate,
        "frr_librispeech": float(row["FRR %"] or 0.0),
        "far_librispeech": float(row["FAR %"] or 0.0),
    }


def _speaker(path: Path) -> str:
    """Return who speaks in a file of LibriSpeech."""
    return path.stem.split("-")[0]


def _tell_missing(part: Part, bench: DiarizationBench) -> None:
    """Say which engines take no part because their models are not there; a quick run has ours alone."""
    for name in MODELS if not bench.plan.quick else ():
        if name not in bench.plan.models:
            part.notes.append(f"{name} was left out: run `voice-stack models pull {MODELS[name]}`")
