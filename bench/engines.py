"""Every engine where its extra is installed: its tests, and a real sentence through it. `make engines`.

Writes bench/results/latest/engines.json, which docs/engines.md is made of once it was adopted, and prints the table.
Environment: ENGINES=whisper,piper for some of them (the others keep what an earlier run has found). Exit status 1 when
a test failed, an environment is missing or a sentence was not understood.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import results, services, tables
from bench.audio import SENTENCES as TEXTS
from bench.children import ROOT
from bench.engines_plan import Case, cases, extras
from bench.machine import describe
from bench.results import Row
from bench.speech import Clip, NoSpeech, between, clips, some
from core.catalogue import Catalogue
from core.devices import usable_cores
from core.errors import VoiceStackError
from core.settings import Places
from utils.text import wer

NAME = "engines"
ENVIRONMENTS = ROOT / ".venv-engines"
CLIPS, CLIP_SECONDS = 4, (4.0, 12.0)
LISTENER = "whisper-base"
MOST_WRONG_PERCENT = 20.0
TEST_SECONDS, CHILD_SECONDS = 1800.0, 900.0
THREADS = min(usable_cores(), 2)
_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped)\b")
_ABSENT = re.compile(r"^SKIPPED .* not installed.*$", re.MULTILINE)
SETTINGS: Mapping[str, dict[str, str]] = {"asr": {"ASR_MODEL": LISTENER}, "tts": {"TTS_MODEL": "kokoro"}}


class Failed(Exception):
    """An engine did not do what it should; the message says what happened."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an engine is run: the Python of its environment, and a folder for files that end with the run."""

    python: Path
    folder: Path

    def run(self, *arguments: str, seconds: float, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python with arguments at the root of the checkout."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("ASR_", "TTS_", "DIARIZATION_"))}
        try:
            return subprocess.run(
                [str(self.python), *arguments],
                cwd=ROOT,
                env=inherited | environment,
                timeout=seconds,
                capture_output=True,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{' '.join(arguments[:3])} took more than {seconds:.0f} s") from error

    def ask(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Run an engine in a process of its own (bench/engine_child.py). Raises Failed."""
        answer = self.folder / "answer.json"
        answer.unlink(missing_ok=True)
        told = json.dumps({**config, "threads": THREADS, "answer": str(answer)})
        done = self.run("-W", "ignore", "-m", "bench.engine_child", told, seconds=CHILD_SECONDS)
        if done.returncode or not answer.is_file():
            raise Failed(_last(done.stderr) or f"the process ended with {done.returncode}")
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found


def place(environment: str, folder: Path) -> Place:
    """Return where the engines of an environment are run. Raises Failed when it was not built."""
    home = ENVIRONMENTS / environment
    if not (home / "voice-stack.stamp").is_file():
        raise Failed(f"the environment {environment} is missing: scripts/make-engine-envs.sh builds it")
    return Place(home / "bin" / "python", folder)


def empty(case: Case) -> dict[str, str | int | float | None]:
    """Return the row of an engine of which nothing is known yet."""
    return {
        "kind": case.kind,
        "engine": case.engine,
        "environment": case.environment,
        "library": "",
        "tested with": case.weights,
        "note": case.note,
        "model": case.model or "",
        "tests": "",
        "WER %": None,
        "RTF": None,
        "RSS MB": None,
    }


def measure(case: Case, spoken: Sequence[Clip]) -> tuple[Row, list[str]]:
    """Return the row of an engine, and what is wrong with it."""
    row = empty(case)
    wrong = []
    with tempfile.TemporaryDirectory(prefix="bench-engines-") as name:
        try:
            where = place(case.environment, Path(name))
            row["tests"] = tested(case, where)
            if case.has_sentence:
                row |= sentence(case, where, spoken)
        except (Failed, VoiceStackError, services.NotReady) as error:
            wrong.append(str(error))
    if re.search(r"failed|error", str(row["tests"])):
        wrong.append(f"tests: {row['tests']}")
    if isinstance(row["WER %"], float) and row["WER %"] > MOST_WRONG_PERCENT:
        wrong.append(f"{row['WER %']} % of the words are wrong, {MOST_WRONG_PERCENT:g} % at most may be")
    return row, [f"{case.kind} {case.engine}: {one}" for one in wrong]


def tested(case: Case, where: Place) -> str:
    """Run the tests of an engine and return their counts as pytest words them.

    Raises Failed when none passed, or real weights were not tested for want of a library.
    """
    environment = {"ENGINES": case.engine}
    if case.converter:
        environment["CONVERTER_PYTHON"] = str(place(case.converter, where.folder).python)
    done = where.run(
        *("-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--no-header", *case.paths),
        seconds=TEST_SECONDS,
        **environment,
    )
    found = {what: int(number) for number, what in _COUNT.findall(_last(done.stdout))}
    if not found.get("passed") or done.returncode not in {0, 1}:
        raise Failed(f"no test passed: {_last(done.stdout)} {_last(done.stderr)}".strip())
    if case.weights == "real weights" and (absent := _ABSENT.search(done.stdout)):
        raise Failed(f"not all tests were run: {absent[0]}")
    return ", ".join(f"{number} {what}" for what, number in sorted(found.items(), key=lambda one: one[0] != "passed"))


def sentence(case: Case, where: Place, spoken: Sequence[Clip]) -> Row:
    """Return what came of real sentences: word errors, real-time factor, highest memory, library. Raises Failed."""
    with ExitStack() as stack:
        config = {
            "kind": case.kind,
            "engine": case.engine,
            "model": str(path) if (path := weights(case, where)) else None,
            "model_id": case.model or "",
            "options": stack.enter_context(_options(case)),
            "voice": case.voice,
            "folder": str(where.folder),
        }
        if case.kind == "asr":
            found = where.ask(config | {"files": [str(clip.path) for clip in spoken]})
            said, heard = [clip.text for clip in spoken], found["texts"]
        else:
            found = where.ask(config | {"texts": TEXTS})
            said, heard = list(TEXTS), listen(found["files"], where.folder)
    return {
        "library": found["library"],
        "WER %": percent(said, heard),
        "RTF": round(found["seconds"] / found["audio_seconds"], 3),
        "RSS MB": round(found["rss_mb"]),
    }


def weights(case: Case, where: Place) -> Path | None:
    """Return an engine's weights, a folder or file, converted where they have to be; None for a client of a server."""
    if case.model is None:
        return None
    catalogue = Catalogue.load(Places().cache)
    source = catalogue.require(catalogue.resolve(case.model)).path
    if not case.convert:
        return source
    target = where.folder / case.converted
    script, *arguments = (part.format(model=source, target=target) for part in case.convert)
    converter = place(case.converter, where.folder) if case.converter else where
    done = converter.run(script, *arguments, seconds=CHILD_SECONDS)
    if done.returncode:
        raise Failed(f"{script}: {_last(done.stderr) or _last(done.stdout)}")
    return target


def listen(files: Sequence[str], folder: Path) -> list[str]:
    """Return what Whisper base hears in files."""
    model = Catalogue.load(Places().cache).require(Catalogue.load(Places().cache).resolve(LISTENER))
    config = {"kind": "asr", "engine": model.engine, "model": str(model.path), "model_id": model.id, "options": {}}
    texts: list[str] = Place(Path(sys.executable), folder).ask(config | {"files": files})["texts"]
    return texts


def percent(said: Sequence[str], heard: Sequence[str]) -> float:
    """Return the words that are wrong, in percent of those that were said."""
    wanted = [wer.words(text) for text in said]
    edits = sum(wer.edits(one, wer.words(other)) for one, other in zip(wanted, heard, strict=True))
    return round(100 * edits / max(sum(map(len, wanted)), 1), 1)


@contextmanager
def _options(case: Case) -> Iterator[dict[str, Any]]:
    """Return the engine's options; a service of ours runs meanwhile where they name one."""
    if case.service is None:
        yield dict(case.options)
        return
    with services.running(case.service, SETTINGS[case.service]) as service:
        urls = {"asr_url": service.url, "tts_url": service.url}
        yield {key: value.format(**urls) if isinstance(value, str) else value for key, value in case.options.items()}


def told(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with what fits on a terminal; the file has the environment and the library besides."""
    return [
        {
            "engine": f"{row['kind']} {row['engine']}",
            "tested with": ": ".join(filter(None, (str(row["tested with"]), " ".join(_what(row))))),
            **{name: row[name] for name in ("tests", "WER %", "RTF", "RSS MB")},
        }
        for row in rows
    ]


def _what(row: Row) -> Iterator[str]:
    return (str(row[name]) for name in ("model", "note") if row[name])


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip("= ") if lines else ""


def run(wanted: Sequence[str], folder: Path, console: Console) -> results.Result:
    """Measure the engines, one after another, and write what is known after each. Raises NoSpeech, ValueError."""
    spoken = some(between(clips(), *CLIP_SECONDS), CLIPS)
    earlier = results.earlier(NAME, folder)
    rows = {(row["kind"], row["engine"]): row for row in (earlier.tables.get(NAME, ()) if earlier and wanted else ())}
    machine, failures = describe(), list[str]()
    chosen = cases(wanted)
    if not chosen:
        raise ValueError("there is no engine to run")
    for case in chosen:
        started = time.monotonic()
        row, wrong = measure(case, spoken)
        rows[case.kind, case.engine] = row
        failures += wrong
        console.print(f"{case.kind} {case.engine}: {time.monotonic() - started:.0f} s {'; '.join(wrong)}", markup=False)
        result = results.Result(
            measured_at=results.now(),
            quick=False,
            machine=machine,
            settings={"threads": THREADS, "device": "cpu", "listener": LISTENER, "clips": CLIPS, "texts": len(TEXTS)},
            samples={},
            unit="s",
            tables={NAME: tuple(rows.values())},
            failures=tuple(failures),
        )
        results.write(NAME, result, folder)
    return result


def main() -> int:
    """Run them, print the table, and say by the exit status whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m bench.engines", description=__doc__)
    parser.add_argument("--extras", action="store_true", help="only print the extras whose environments are needed")
    wanted = [name.strip() for name in os.environ.get("ENGINES", "").split(",") if name.strip()]
    console = Console()
    try:
        if parser.parse_args().extras:
            print(" ".join(extras(wanted)))
            return 0
        result = run(wanted, results.LATEST, console)
    except (NoSpeech, VoiceStackError, ValueError) as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        return 2
    console.print(tables.shown(NAME, told(result.tables[NAME])))
    for failure in result.failures:
        console.print(f"failed: {failure}", soft_wrap=True, markup=False)
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
