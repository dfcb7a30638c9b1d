"""Pages promise nothing that is not there: links, commands, settings and models they name exist."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import typer.main

import voice_stack.cli
from asr.settings import AsrSettings
from core.catalogue import Catalogue
from core.registry import PLUGINS_VARIABLE
from core.settings import Places, known_names
from tts.settings import TtsSettings

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".", "docs", "docs/adr", "scripts", "voices", ".docs", "examples", "bench")
PAGES = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
# Names of the same form that somebody else reads, such as our tests and other programs.
FOREIGN = {"MODEL_DIR", "VOICE_STACK_TEST_DATA"}
FOREIGN |= {"ASR_BASE_URL", "ASR_DIARIZE", "TTS_MODELS", "TTS_OPENAI_URL", "TTS_VOICES"}


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(path: Path) -> set[str]:
    """The anchors that GitLab and GitHub make of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def named(pattern: str, text: str) -> set[str]:
    return set(re.findall(pattern, text, flags=re.MULTILINE))


every_page = pytest.mark.parametrize("page", PAGES, ids=page_id)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@every_page
def test_make_targets_exist(page: Path) -> None:
    targets = named(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert named(r"(?:^|`|&& )make ([a-z][a-z-]+)", page.read_text(encoding="utf-8")) - targets == set()


@every_page
def test_hatch_scripts_exist(page: Path) -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    scripts = set(config["tool"]["hatch"]["envs"]["default"]["scripts"])
    assert named(r"hatch run ([a-z][a-z_-]+)", page.read_text(encoding="utf-8")) - scripts == set()


@every_page
def test_nox_sessions_exist(page: Path) -> None:
    functions = named(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(encoding="utf-8"))
    sessions = {name.replace("_", "-") for name in functions}
    assert named(r"nox -s ([a-z0-9-]+)", page.read_text(encoding="utf-8")) - sessions == set()


@every_page
def test_scripts_exist(page: Path) -> None:
    found = named(r"(scripts/[\w./-]+\.(?:sh|py|conf|service))", page.read_text(encoding="utf-8"))
    assert [name for name in found if not (ROOT / name).is_file()] == []


@every_page
def test_commands_and_options_exist(page: Path) -> None:
    root = typer.main.get_command(voice_stack.cli.app)
    wrong = []
    for line in named(r"(?:^|`|\$ |[A-Z]=\S+ |bin/)(voice-stack [a-z][^`#|\n]*)", page.read_text(encoding="utf-8")):
        command = root
        for word in line.split()[1:]:
            children: Iterable[str] = getattr(command, "commands", {})
            if word in children:
                command = command.commands[word]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        unknown = [word for word in line.split() if word.startswith("--") and word.split("=")[0] not in known]
        if command is root or unknown:
            wrong.append(line)
    assert wrong == []


@every_page
def test_models_that_are_pulled_exist(page: Path, tmp_path: Path) -> None:
    known = {name for model in Catalogue.load(tmp_path).entries() for name in (model.id, *model.aliases)}
    text = page.read_text(encoding="utf-8")
    pulled = {word for line in named(r"models pull ([\w. -]+)", text) for word in line.split() if word[0].islower()}
    assert pulled - known == set()


@every_page
def test_settings_exist(page: Path) -> None:
    known = known_names(AsrSettings) | known_names(TtsSettings) | known_names(Places) | {PLUGINS_VARIABLE} | FOREIGN
    text = page.read_text(encoding="utf-8")
    named_here = named(r"\b((?:ASR|TTS|DIARIZATION|VOICE_STACK|DEBUGPY|MODEL|MAX)_[A-Z][A-Z_0-9]*[A-Z0-9])\b", text)
    assert {name for name in named_here if name.split("__")[0] not in known} == set()
