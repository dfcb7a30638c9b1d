"""What a service costs on top of its engine: `make bench-overhead`; bench/README.md says what each side does.

Environment: QUICK=1 for two rounds, BENCH_DEVICE=cuda to measure on a GPU.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import Progress

from asr.transcript import TEMPERATURE_LADDER
from bench import audio, bare, results, services
from bench.bare import Answer
from bench.clients import speaker, transcriber
from bench.load import probe_under_load
from bench.machine import Machine, describe
from bench.plan import ASR_MODEL, LANGUAGE, TTS_MODEL, Plan
from bench.samples import SETTLE_SECONDS, interleave, percentile, ratio
from core.catalogue import Catalogue
from core.model_entry import ModelRef
from core.settings import Places
from tts.engine_factory import registry as tts_engines
from tts.settings import TtsSettings
from utils.text.wer import words

TEXT = " ".join(audio.SENTENCES[:2])
DECODING = {"beam_size": 5, "temperature": list(TEMPERATURE_LADDER), "condition_on_previous_text": False}
"""What faster-whisper is told, so that it decodes as our engine does by default."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every measurement needs: the plan, the models, a folder for files, a client, and a progress bar."""

    plan: Plan
    catalogue: Catalogue
    folder: Path
    client: httpx.Client
    progress: Progress

    def model(self, name: str) -> ModelRef:
        """Return an installed model; ModelNotFound says how to get it."""
        return self.catalogue.require(self.catalogue.resolve(name))

    def interleave(
        self, title: str, sides: Mapping[str, Callable[[], Answer]], *, rounds: int
    ) -> dict[str, list[Answer]]:
        """Measure the sides in turn."""
        task = self.progress.add_task(title, total=(rounds + self.plan.warm_up) * len(sides))
        return interleave(
            sides,
            rounds=rounds,
            warm_up=self.plan.warm_up,
            tick=lambda: self.progress.advance(task),
            settle=SETTLE_SECONDS,
        )


def compare_asr(bench: Bench) -> dict[str, list[Answer]]:
    """Measure service, bare engine and faster-whisper on the same ten seconds, as WAV and as MP3."""
    wav = audio.clip(bench.folder)
    mp3 = audio.as_mp3(wav)
    model = bench.model(ASR_MODEL)
    shared = {"context": bench.plan.context(model), "language": LANGUAGE}
    with ExitStack() as stack:
        service = stack.enter_context(services.running("asr", bench.plan.service("asr")))
        ours = stack.enter_context(bare.started("asr", {**shared, "engine": model.engine}))
        theirs = stack.enter_context(bare.started("faster-whisper", {**shared, "decoding": DECODING}))
        sides = {
            "asr_service_wav": transcriber(bench.client, service.url, wav, language=LANGUAGE),
            "asr_bare_wav": lambda: ours(str(wav)),
            "faster_whisper_wav": lambda: theirs(str(wav)),
            "asr_service_mp3": transcriber(bench.client, service.url, mp3, language=LANGUAGE),
            "asr_bare_mp3": lambda: ours(str(mp3)),
        }
        return bench.interleave("transcription", sides, rounds=bench.plan.asr_rounds)


def compare_tts(bench: Bench) -> dict[str, list[Answer]]:
    """Measure the first byte of the service and the first piece of the bare engine, for the same text and voice."""
    model = bench.model(TTS_MODEL)
    with ExitStack() as stack:
        service = stack.enter_context(services.running("tts", bench.plan.service("tts")))
        pcm, mp3 = (speaker(bench.client, service.url, TEXT, name) for name in ("pcm", "mp3"))
        voice = pcm().text
        voices = tts_engines().get(model.engine).list_voices(model.path) if model.path else []
        config = {
            "context": bench.plan.context(model),
            "engine": model.engine,
            "voice": asdict(next(found for found in voices if found.id == voice)),
            "max_chars": TtsSettings.model_fields["max_chars"].default,
        }
        ours = stack.enter_context(bare.started("tts", config))
        sides = {"tts_first_byte_pcm": pcm, "tts_bare_first_piece": lambda: ours(TEXT), "tts_first_byte_of_mp3": mp3}
        return bench.interleave("first byte of speech", sides, rounds=bench.plan.tts_rounds)


def probe_livez(bench: Bench) -> dict[str, list[float]]:
    """Measure /livez of both services, in milliseconds, while both engines work."""
    seconds = bench.plan.load_seconds
    task = bench.progress.add_task(f"/livez under {seconds:.0f} s of load", total=1)
    wav = audio.clip(bench.folder)
    with ExitStack() as stack:
        asr = stack.enter_context(services.running("asr", bench.plan.service("asr")))
        tts = stack.enter_context(services.running("tts", bench.plan.service("tts")))
        work = {
            "asr": transcriber(bench.client, asr.url, wav, language=LANGUAGE),
            "tts": speaker(bench.client, tts.url, TEXT, "mp3"),
        }
        found = probe_under_load(work, {"asr": asr.url, "tts": tts.url}, seconds=seconds)
    bench.progress.advance(task)
    return {f"livez_{name}": probes for name, probes in found.items()}


def summarize(samples: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the figures of the result from the samples in milliseconds."""
    wav, bare_wav = samples["asr_service_wav"], samples["asr_bare_wav"]
    found = {
        "asr_overhead_ratio_10s_wav": ratio(wav, bare_wav),
        "asr_overhead_ratio_10s_mp3": ratio(samples["asr_service_mp3"], samples["asr_bare_mp3"]),
        "asr_vs_faster_whisper_10s_wav": ratio(wav, samples["faster_whisper_wav"]),
        "tts_first_byte_ms": statistics.median(samples["tts_first_byte_pcm"]),
        "tts_bare_first_piece_ms": statistics.median(samples["tts_bare_first_piece"]),
        "tts_first_byte_mp3_ms": statistics.median(samples["tts_first_byte_of_mp3"]),
        "livez_p99_ms_under_load": percentile([*samples["livez_asr"], *samples["livez_tts"]], 99),
    }
    return {key: round(value, 4) for key, value in found.items()}


def notes(machine: Machine, answers: Mapping[str, Iterable[Answer]]) -> list[str]:
    """Return what makes the figures worth less."""
    found = ["quick run: too few rounds to believe"] if results.is_quick() else []
    if not machine.idle:
        found.append(f"the machine was busy before the start (load {machine.load})")
    for file in ("wav", "mp3"):
        ours = _heard(answers, f"asr_service_{file}", f"asr_bare_{file}")
        everybody = ours | _heard(answers, f"faster_whisper_{file}")
        if len(ours) > 1:
            found.append(f"service and engine did not hear the same in the {file} file: {sorted(ours)}")
        elif len(everybody) > 1:
            found.append(f"faster-whisper heard something else in the {file} file: {sorted(everybody)}")
    return found


def _heard(answers: Mapping[str, Iterable[Answer]], *sides: str) -> set[str]:
    """Return the texts of some sides; windows of another length may come with another punctuation."""
    return {" ".join(words(one.text)) for side in sides for one in answers.get(side, ())}


def main() -> None:
    """Measure, print the table, and write bench/results/latest/overhead.json."""
    console = Console()
    machine = describe()
    plan = Plan.from_environment()
    with (
        tempfile.TemporaryDirectory(prefix="bench-overhead-") as folder,
        httpx.Client(timeout=600.0, trust_env=False) as client,
        Progress(console=console) as progress,
    ):
        bench = Bench(plan, Catalogue.load(Places().cache), Path(folder), client, progress)
        answers = compare_asr(bench) | compare_tts(bench)
        probes = probe_livez(bench)
    samples = {side: tuple(round(one.seconds * 1000, 2) for one in found) for side, found in answers.items()}
    samples |= {side: tuple(round(one, 3) for one in found) for side, found in probes.items()}
    result = results.Result(
        measured_at=results.now(),
        quick=results.is_quick(),
        machine=machine,
        settings=plan.facts(),
        details={"rounds of transcription": plan.asr_rounds, "rounds of speech": plan.tts_rounds}
        | {"rounds not counted": plan.warm_up, "seconds of load": plan.load_seconds},
        unit="ms",
        samples=samples,
        notes=tuple(notes(machine, answers)),
        **summarize(samples),
    )
    results.publish("overhead", result, console)


if __name__ == "__main__":
    main()
