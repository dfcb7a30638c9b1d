"""The catalogue's entries for CrispASR are what its gallery says."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from scripts.make_crispasr_catalogue import GALLERY, TARGET, read

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.engines.crispasr import CrispasrAsrOptions
from core.model_entry import ModelEntry
from core.sources.hub import HubSource
from tts.engines.crispasr import CrispasrTtsOptions

ROOT = Path(__file__).resolve().parents[2]
# The architectures that the engine was asked for, by the beginnings of their models' names.
ASKED_FOR = (
    "parakeet", "canary", "cohere", "qwen3-crispasr", "voxtral", "granite", "fastconformer-ctc", "wav2vec2",
    "vibevoice-crispasr", "hubert", "data2vec", "glm-asr", "kyutai-stt", "firered", "moonshine", "mimo",
    "vibevoice-tts", "chatterbox-tts", "qwen3-tts", "orpheus-tts",
)  # fmt: skip


def entries() -> dict[str, ModelEntry]:
    found = tomllib.loads(TARGET.read_text(encoding="utf-8"))["models"]
    return {one["id"]: ModelEntry.model_validate(one) for one in found}


def test_the_file_is_what_the_script_writes() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "make_crispasr_catalogue.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_architecture_has_a_model() -> None:
    assert [name for name in ASKED_FOR if not any(found.startswith(name) for found in entries())] == []


def test_hashes_and_places_are_those_of_the_gallery() -> None:
    gallery = GALLERY.read_text(encoding="utf-8")
    for name, entry in entries().items():
        (line,) = [line for line in gallery.splitlines() if line.startswith(f"{name}\t")]
        assert {spec.sha256 for spec in entry.files} == set(re.findall(r"sha256:([0-9a-f]{64})", line))
        for source in entry.sources:
            assert isinstance(source, HubSource)
            assert f"<- {source.repo}/" in line
        assert all(any(source.wanted([spec]) for source in entry.sources) for spec in entry.files)


def test_options_are_those_of_the_engines_and_their_files_are_pulled() -> None:
    for entry in entries().values():
        speaks = entry.task == "text-to-speech"
        options = (CrispasrTtsOptions if speaks else CrispasrAsrOptions).model_validate(entry.options)
        assert options.codec is None or str(options.codec) in {spec.path for spec in entry.files}


def test_a_line_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ValueError, match="mine"):
        list(read("head\nmine\t['transcript']\t\tmodel.gguf\tmodel.gguf <- nowhere"))
