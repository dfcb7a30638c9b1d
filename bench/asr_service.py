"""The parts of `make bench-asr` about our service alone: mixed load, /livez, memory of an hour, unloading."""

from __future__ import annotations

import http.client
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from urllib.parse import urlsplit

import httpx

from bench import asr_sides, processes
from bench.asr_bench import Bench, until_idle
from bench.asr_check import check, check_known, check_same
from bench.asr_sides import Served
from bench.parts import Part
from bench.plan import LANGUAGE
from bench.samples import percentile
from bench.sides import OURS, Run
from bench.speech import Clip, at_least, cut, recording, some

MIXED_CLIP_SECONDS = 2.0
CLIENTS_UNDER_LOAD = 16
HOUR = 3600.0
READINGS_PER_SECOND = 10.0
IDLE_SECONDS = 3.0
_UNDER_WAY_SECONDS = 3.0
_UNLOAD_PATIENCE = 60.0


def mixed(bench: Bench) -> Part:
    """Measure clips of two seconds alone and beside a recording of ten minutes."""
    part, plan = Part(), bench.plan
    clips = list(islice(cycle(cut(some(bench.clips, 10), bench.folder, MIXED_CLIP_SECONDS)), plan.mixed_clips))
    file = recording(bench.clips, bench.folder / "beside.flac", plan.long_seconds)
    alone: list[Run] = []
    beside: list[Run] = []
    with asr_sides.ours(plan.settings) as side:
        bench.warm_up(side)
        bench.say(f"{len(clips)} clips of {MIXED_CLIP_SECONDS:g} s alone and beside a long file; {plan.rounds} rounds")
        for _ in range(plan.rounds):
            alone.append(side.run(clips, concurrency=1))
            with _transcribing(side, file):
                beside.append(side.run(clips, concurrency=1))
            until_idle(side.pid)
        bench.tell(part, "2 s clips alone", side, alone, clients=1)
        bench.tell(part, "2 s clips beside 10 min", side, beside, clients=1)
    check_same(part, "2 s clips beside 10 min", beside, alone)
    part.figures["mixed_short_p95_vs_alone"] = round(
        statistics.median(map(_p95, beside)) / statistics.median(map(_p95, alone)), 3
    )
    for name, runs in {"alone": alone, "beside": beside}.items():
        part.samples[name] = [round(one.seconds, 4) for run in runs for one in run.heard]
    return part


def _p95(run: Run) -> float:
    return percentile([one.seconds for one in run.heard], 95)


@contextmanager
def _transcribing(side: Served, clip: Clip) -> Iterator[None]:
    """Have a file transcribed all the while, again when it is done; what is under way at the end is broken off."""
    request = httpx.Request(
        "POST",
        f"{side.url}/v1/audio/transcriptions",
        files={"file": (clip.path.name, clip.path.read_bytes())},
        data={"language": LANGUAGE},
    )
    body, headers = request.read(), dict(request.headers)
    address, ended, failed = urlsplit(side.url), threading.Event(), list[Exception]()
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=asr_sides.SECONDS_PER_ANSWER)

    def work() -> None:
        try:
            while not ended.is_set():
                connection.request("POST", request.url.path, body, headers)
                answer = connection.getresponse()
                if answer.status != http.client.OK:
                    raise RuntimeError(f"the long file was answered with {answer.status}: {answer.read(200)!r}")
                answer.read()
        except Exception as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        time.sleep(_UNDER_WAY_SECONDS)  # until it has arrived and its first windows are at work
        yield
        if failed:
            raise failed[0]
    finally:
        ended.set()
        with suppress(OSError, AttributeError):  # between two requests there is no socket
            connection.sock.shutdown(socket.SHUT_RDWR)
        thread.join()
        connection.close()


def livez(bench: Bench) -> Part:
    """Measure /livez while sixteen clients send short clips."""
    part, plan = Part(), bench.plan
    clips = at_least(bench.short, bench.folder, plan.answers_under_load)
    with asr_sides.ours(plan.settings) as side:
        bench.warm_up(side)
        cell = "/livez under load"
        alone = [side.run(clips, concurrency=1)]
        runs = bench.measure(cell, [side], clips, clients=CLIENTS_UNDER_LOAD, rounds=plan.rounds)
        bench.tell(part, cell, side, runs[OURS], clients=CLIENTS_UNDER_LOAD)
    check_known(part, f"{cell}, before it", alone)
    check_same(part, cell, runs[OURS], alone)
    part.figures["livez_p99_ms"] = round(statistics.median(percentile(run.health_ms, 99) for run in runs[OURS]), 2)
    part.samples["livez, ms"] = [round(taken, 2) for run in runs[OURS] for taken in run.health_ms]
    return part


def memory(bench: Bench) -> Part:
    """Measure the memory of all processes while an hour is transcribed, above what they have after a first request."""
    part, plan = Part(), bench.plan
    file = recording(bench.clips, bench.folder / "hour.flac", plan.hour_seconds, speech=plan.hour_speech)
    spoken = (plan.hour_speech or plan.hour_seconds) / 60
    with asr_sides.ours(plan.settings) as side:
        first = side.run(bench.short[:1], concurrency=1)
        time.sleep(IDLE_SECONDS)
        idle = processes.total_rss(side.pid)
        bench.say(f"{plan.hour_seconds / 60:g} minutes, {spoken:g} of them speech")
        with (
            processes.using(side.pid, readings_per_second=READINGS_PER_SECOND) as usage,
            processes.watching(side.pid) as watch,
        ):
            run = side.run([file], concurrency=1)
        bench.tell(part, f"{plan.hour_seconds / 60:g} min", side, [run], clients=1)
    check(part, "the first request", {OURS: [first]})
    check_known(part, "the long recording", [run])
    if plan.hour_seconds >= HOUR:
        part.figures["rss_over_idle_mb_60min"] = round(usage.peak_rss - idle, 1)
    part.details = {
        "MB idle": round(idle),
        "MB at most": round(usage.peak_rss),
        "minutes of speech": spoken,
        "minutes taken": round(run.seconds / 60, 2),
        **{f"peak of {what}, MB": round(peak) for what, peak in watch.peaks.items()},
    }
    return part


def reload(bench: Bench) -> Part:
    """Measure loading the model for a first request, and again after it was unloaded because nobody used it."""
    part, plan, clip = Part(), bench.plan, bench.short[:1]
    settings = {**plan.settings, "ASR_PRELOAD": "false", "ASR_IDLE_UNLOAD": f"{plan.idle_unload:g}"}
    cold: list[Run] = []
    unloaded: list[float] = []
    with asr_sides.ours(settings) as side:
        first = side.run(clip, concurrency=1)
        warm = [side.run(clip, concurrency=1) for _ in range(plan.rounds)]
        bench.say(f"unloading after {plan.idle_unload:g} s and loading again; {plan.rounds} rounds")
        for _ in range(plan.rounds):
            _until_unloaded(side.pid, plan.idle_unload)
            unloaded.append(processes.total_rss(side.pid))
            cold.append(side.run(clip, concurrency=1))
        for cell, runs in {"first request": [first], "loaded": warm, "after idle unload": cold}.items():
            bench.tell(part, cell, side, runs, clients=1)
            check_same(part, cell, runs, warm)
    usual = statistics.median(run.seconds for run in warm)
    part.figures |= {
        "load_seconds": round(first.seconds - usual, 3),
        "reload_seconds": round(statistics.median(run.seconds for run in cold) - usual, 3),
        "rss_unloaded_mb": round(statistics.median(unloaded), 1),
    }
    return part


def _until_unloaded(pid: int, idle: float) -> None:
    deadline = time.monotonic() + idle + _UNLOAD_PATIENCE
    while "worker" in processes.now(pid):
        if time.monotonic() > deadline:
            raise TimeoutError("the model was not unloaded")
        time.sleep(0.1)
