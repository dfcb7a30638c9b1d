"""Which voice a request means: the model's own voices, the recordings of the voices folder, and well-known names."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from core.errors import VoiceNotFound
from tts.recordings import Recordings, speaker_of
from tts.voice import Voice, quoted

DEFAULT_VOICES = ("af_heart", "jf_alpha")
_SHOWN = 20


@lru_cache(maxsize=1)
def stand_ins() -> Mapping[str, Sequence[str]]:
    """Return the table of voices.toml: a well-known name to the voices that may stand for it, the best first."""
    text = Path(__file__).with_name("voices.toml").read_text(encoding="utf-8")
    return {name: tuple(voices) for name, voices in tomllib.loads(text).items()}


class VoiceBook:
    """The voices there are and the names they go by. Names are looked up, never joined to a path.

    It knows the recordings as they were at the last look into their folder.
    """

    def __init__(self, recordings: Recordings, *, default: str | None = None) -> None:
        self._recordings = recordings
        self._default = default

    def voices(self, builtin: Iterable[Voice], *, clones: bool) -> list[Voice]:
        """Return a model's own voices and, where it `clones`, the recordings; a recording hides a voice of its name."""
        return list(self._by_id(builtin, clones=clones).values())

    def resolve(self, name: str | None, language: str | None, builtin: Iterable[Voice], *, clones: bool) -> Voice:
        """Return the voice that `name` means in this model, the default voice for None or "".

        A name is a voice's id, else the name a voice was made with by request, else a speaker of the voices folder
        (`language` or English decides which of the speaker's recordings), else what the model calls one of its own
        voices, else a name of voices.toml. Raises VoiceNotFound, listing voices, for any other.
        """
        known = self._by_id(builtin, clones=clones)
        found = _find(name, language, known) if name else None
        if found is None and (not name or name in stand_ins()):
            found = self._default_of(known, language)
        if found is None:
            raise VoiceNotFound(_message(name, [voice.name for voice in known.values()]), param="voice")
        return found

    def _by_id(self, builtin: Iterable[Voice], *, clones: bool) -> dict[str, Voice]:
        own = {voice.id: voice for voice in builtin}
        return {**own, **self._recordings.known()} if clones else own

    def _default_of(self, known: Mapping[str, Voice], language: str | None) -> Voice | None:
        if self._default and (found := _find(self._default, language, known)):
            return found
        return next((known[name] for name in DEFAULT_VOICES if name in known), None) or _spoken(known, language)


def _find(name: str, language: str | None, known: Mapping[str, Voice]) -> Voice | None:
    if name in known:
        return known[name]
    cloned = [voice for voice in known.values() if voice.type == "cloned"]
    if made := next((voice for voice in cloned if voice.name == name), None):
        return made
    if own := {voice.id: voice for voice in cloned if voice.id.startswith(name) and speaker_of(voice) == name}:
        return _spoken(own, language or "en")
    if called := next((voice for voice in known.values() if voice.name == name), None):
        return called
    return next((known[voice] for voice in stand_ins().get(name, ()) if voice in known), None)


def _spoken(known: Mapping[str, Voice], language: str | None) -> Voice | None:
    """Return the first voice of a language, else the first of all, None when there is none."""
    if language:
        wanted = language.partition("-")[0].lower()
        for voice in known.values():
            if voice.language and voice.language.partition("-")[0].lower() == wanted:
                return voice
    return next(iter(known.values()), None)


def _message(name: str | None, names: Sequence[str]) -> str:
    """Return the same words around every bad name: which files exist must not be told by it."""
    if not names or not name:
        return "this model has no voices; put a recording into the voices folder"
    more = f" and {len(names) - _SHOWN} more, see GET /v1/audio/voices" if len(names) > _SHOWN else ""
    return f"this model has no voice {quoted(name)}; there are: {', '.join(names[:_SHOWN])}{more}"
