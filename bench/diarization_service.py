"""The parts of `make bench-diarization` about the whole service: known speakers, and both tasks at once."""

from __future__ import annotations

import base64
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from bench import conversations, processes, services
from bench.conversations import CONV2, CONV3, Conversation, Spoken
from bench.diarization_plan import DiarizationBench
from bench.parts import Part
from bench.plan import LANGUAGE
from bench.samples import SETTLE_SECONDS, interleave

SHORTEST_TURN = 1.0
"""Seconds: shorter turns are not asked for their names."""
SECONDS_PER_ANSWER = 900.0
TRANSCRIPTION, DIARIZATION, BOTH = "transcription alone", "diarization alone", "transcription with speakers"
_TRANSCRIPTIONS, _DIARIZATION = "/v1/audio/transcriptions", "/v1/audio/diarization"
REQUESTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    TRANSCRIPTION: (
        _TRANSCRIPTIONS,
        {
            "language": LANGUAGE,
            "response_format": "verbose_json",
            # Words take the speakers, so a transcription with speakers finds their times too.
            "timestamp_granularities[]": ["word", "segment"],
        },
    ),
    DIARIZATION: (_DIARIZATION, {"response_format": "json"}),
    BOTH: (_TRANSCRIPTIONS, {"language": LANGUAGE, "response_format": "diarized_json"}),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer, the seconds until it was there, and the processor seconds of the whole service meanwhile."""

    answer: Any
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Target:
    """A running service and a client of it."""

    service: services.Service
    client: httpx.Client

    def ask(self, route: str, path: Path, data: Mapping[str, Any]) -> Asked:
        """Upload a file and wait for the answer; httpx.HTTPStatusError for an error."""
        request = self.client.build_request(
            "POST", f"{self.service.url}{route}", files={"file": (path.name, path.read_bytes())}, data=dict(data)
        )
        request.read()
        used, started = processes.cpu_seconds(self.service.pid), time.perf_counter()
        response = self.client.send(request)
        seconds = time.perf_counter() - started
        response.raise_for_status()
        return Asked(response.json(), seconds, processes.cpu_seconds(self.service.pid) - used)


@contextmanager
def served(settings: Mapping[str, str]) -> Iterator[Target]:
    """Run our service with its diarization model."""
    with services.running("asr", settings) as service, httpx.Client(timeout=SECONDS_PER_ANSWER, trust_env=False) as one:
        yield Target(service, one)


def known(bench: DiarizationBench) -> Part:
    """Measure how many turns get the right name, of speakers whose recordings come with the request."""
    part, plan = Part(), bench.plan
    right = asked = 0
    with served(plan.settings) as target:
        for spoken in conversations.conversations(bench.folder, (CONV2, CONV3)):
            bench.say(f"{spoken.name}: {len(spoken.speakers)} references of {plan.reference_seconds:g} s")
            references = [
                conversations.reference(
                    who, spoken.name, bench.clips, bench.folder / f"{spoken.name}-{who}.wav", plan.reference_seconds
                )
                for who in spoken.speakers
            ]
            data = {
                "response_format": "json",
                "known_speaker_names[]": list(spoken.speakers),
                "known_speaker_references[]": [data_url(path) for path in references],
            }
            answer = target.ask(_DIARIZATION, spoken.path, data).answer
            found = [(one["start"], one["end"], one["speaker"]) for one in answer["segments"]]
            named = judged(spoken.turns, found)
            right, asked = right + sum(named), asked + len(named)
            part.rows.append(
                {
                    "recording": spoken.name,
                    "speakers": len(spoken.speakers),
                    "turns": len(named),
                    "right": sum(named),
                    "names": ", ".join(sorted({who for _, _, who in found})),
                }
            )
    part.figures["known_speakers_correct_pct"] = round(100 * right / asked, 2)
    return part


def data_url(path: Path) -> str:
    """Return a WAV file as a data URL."""
    return f"data:audio/wav;base64,{base64.b64encode(path.read_bytes()).decode()}"


def judged(turns: Sequence[Spoken], found: Sequence[Spoken]) -> list[bool]:
    """Return for each turn of SHORTEST_TURN and more whether nobody has more of it than who is right, who has some."""
    return [_is_right(turn, found) for turn in turns if turn[1] - turn[0] >= SHORTEST_TURN]


def _is_right(turn: Spoken, found: Sequence[Spoken]) -> bool:
    start, end, who = turn
    shared: dict[str, float] = defaultdict(float)
    for first, last, name in found:
        shared[name] += max(min(end, last) - max(start, first), 0.0)
    return shared[who] > 0 and shared[who] >= max(shared.values())


def both(bench: DiarizationBench) -> Part:
    """Measure a transcription with speakers against what its two tasks take alone, in turn."""
    part, plan = Part(), bench.plan
    (spoken,) = conversations.conversations(bench.folder, (CONV2,))
    with served(plan.settings) as target:
        calls: dict[str, Callable[[], Asked]] = {
            name: partial(target.ask, route, spoken.path, data) for name, (route, data) in REQUESTS.items()
        }
        bench.say(f"{', '.join(calls)}; {plan.rounds} rounds")
        runs = interleave(calls, rounds=plan.rounds, warm_up=1, tick=lambda: None, settle=SETTLE_SECONDS)
    check_both(part, spoken, runs[BOTH])
    for name, found in runs.items():
        part.samples[name] = [round(one.seconds, 3) for one in found]
        part.rows.append(
            {
                "request": name,
                "rounds": len(found),
                "s": round(_wall(found), 2),
                "CPU-s": round(_cpu(found), 2),
                "audio-s/s": round(spoken.pcm.duration / _wall(found), 1),
            }
        )
    part.figures["both_wall_over_ideal"] = round(_wall(runs[BOTH]) / ideal(runs, cores=plan.threads), 3)
    part.details["ideal, s"] = round(ideal(runs, cores=plan.threads), 2)
    return part


def ideal(runs: Mapping[str, Sequence[Asked]], *, cores: int) -> float:
    """Return the least seconds that both tasks could take at once: the longer one's, or all work on all cores."""
    alone = [runs[TRANSCRIPTION], runs[DIARIZATION]]
    return max(*map(_wall, alone), sum(map(_cpu, alone)) / cores)


def check_both(part: Part, spoken: Conversation, runs: Sequence[Asked]) -> None:
    """Add to the failures where an answer has no text, or not as many speakers as talk."""
    for one in runs:
        speakers = {segment["speaker"] for segment in one.answer["segments"]}
        if len(speakers) != len(spoken.speakers) or not one.answer["text"].strip():
            part.failures.append(f"{BOTH}: {len(speakers)} speakers and {len(one.answer['text'])} characters of text")


def _wall(runs: Sequence[Asked]) -> float:
    return statistics.median(one.seconds for one in runs)


def _cpu(runs: Sequence[Asked]) -> float:
    return statistics.median(one.cpu_seconds for one in runs)
