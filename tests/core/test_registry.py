"""Engines of other packages: broken ones and names that are taken are told apart by the package that brings them."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr import engine_factory
from core.errors import ConfigurationError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path for packages of others."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("VOICE_STACK_PLUGINS", raising=False)
    return tmp_path


def install(folder: Path, distribution: str, name: str, target: str) -> None:
    info = folder / f"{distribution.replace('-', '_')}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[voice_stack.asr_engines]\n{name} = {target}\n", encoding="utf-8")


def test_whatever_a_module_raises_is_told_of_its_engine(package: Path) -> None:
    install(package, "my-broken", "broken", "engine_that_breaks:Engine")
    (package / "engine_that_breaks.py").write_text("raise OSError('libspeech.so: cannot open')\n", encoding="utf-8")
    registry = engine_factory.registry()
    assert "broken" in registry.names()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"'broken' cannot be imported from .*OSError: libspeech.so"):
            registry.get("broken")
        # It is not run again: what it does may take long.
        (package / "engine_that_breaks.py").write_text("Engine = 1\n", encoding="utf-8")


def test_a_class_that_is_no_engine_is_refused(package: Path) -> None:
    install(package, "my-other", "other", "json:JSONDecoder")
    with pytest.raises(ConfigurationError, match=r"'other' .* is not a subclass of AsrEngine"):
        engine_factory.registry().get("other")


def test_a_name_that_is_taken_says_by_whom_and_what_to_do(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(package, "my-whisper", "whisper", "engine_of_mine:Engine")
    with pytest.raises(ConfigurationError, match=r"asr\.engines\.whisper.* and engine_of_mine:Engine of my-whisper"):
        engine_factory.registry()
    monkeypatch.setenv("VOICE_STACK_PLUGINS", "off")
    assert "whisper" in engine_factory.registry().names()


def test_two_packages_with_the_same_name_for_an_engine(package: Path) -> None:
    install(package, "my-one", "mine", "one:Engine")
    install(package, "my-two", "mine", "two:Engine")
    with pytest.raises(ConfigurationError, match=r"two engines are called 'mine'.*PLUGINS"):
        engine_factory.registry()
