"""models.toml: what may stand in it, what is refused with which line, and what it changes of the catalogue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.engine_factory import registry as listeners
from core import model_options
from core.catalogue import Catalogue
from core.errors import ConfigurationError, ModelNotFound
from core.model_entry import TASKS
from core.models_check import check, warn_of_paths
from core.models_file import own_models, read_models_file
from core.settings import Places

ASR, TTS, SPEAKERS = TASKS


def catalogue(folder: Path, text: str) -> Catalogue:
    (folder / "models.toml").write_text(text, encoding="utf-8")
    return Catalogue.load(folder / "cache", own=read_models_file(folder / "models.toml"))


def whisper_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "config.json").write_text(json.dumps({"suppress_ids_begin": [220, 50256]}))
    (folder / "tokenizer.json").write_text("{}")
    return folder


class TestOptions:
    def test_both_spellings(self) -> None:
        assert model_options.parse(["backend:parakeet", "voice_text: it is 10:30"]) == {
            "backend": "parakeet",
            "voice_text": "it is 10:30",
        }
        assert model_options.parse({"Beam_Size": 3}) == {"beam_size": 3}

    @pytest.mark.parametrize("given", ["backend:x", ["backend"], [":x"], ["a:1", "A:2"], [3], 7, {"": 1}])
    def test_what_is_refused(self, given: object) -> None:
        with pytest.raises(ValueError, match=r"option"):
            model_options.parse(given)  # type: ignore[arg-type]


class TestReading:
    def test_no_file_is_an_empty_one(self, tmp_path: Path) -> None:
        found = read_models_file(tmp_path / "models.toml")
        assert (found.models, found.chains, found.path) == ({}, {}, None)

    def test_a_file_that_was_named_must_be_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert own_models(Places()).path is None
        monkeypatch.setenv("MODELS_FILE", str(tmp_path / "mine.toml"))
        with pytest.raises(ConfigurationError, match=r"mine\.toml"):
            own_models(Places())

    def test_paths_lead_from_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "models.toml").write_text('[models.a]\nengine = "x"\ntask = "tts"\npath = "weights/a"\n')
        found = read_models_file(tmp_path / "models.toml").models["a"]
        assert (found.path, found.task) == (tmp_path / "weights" / "a", TTS)

    def test_the_mark_of_windows_editors_is_no_mistake(self, tmp_path: Path) -> None:
        (tmp_path / "models.toml").write_text("[models.a]\nengine = 'x'\n", encoding="utf-8-sig")
        assert read_models_file(tmp_path / "models.toml").models["a"].engine == "x"

    def test_what_is_nested_without_end(self, tmp_path: Path) -> None:
        (tmp_path / "models.toml").write_text(f"x = {'[' * 5000}\n")
        with pytest.raises(ConfigurationError, match=r"models\.toml cannot be read: it is nested too deeply"):
            read_models_file(tmp_path / "models.toml")

    @pytest.mark.parametrize(
        ("text", "line", "complaint"),
        [
            ("[models.a]\nengine = 'x'\n\nenigne = 'x'\n", 4, "models.a.enigne: unknown key"),
            ("# about\n[modells.a]\n", 2, "modells: unknown key"),
            ("[models.whisper-tiny.en]\noptions = {}\n", 1, "in quotes"),
            ("[models.'a b']\n", 1, "letters, digits"),
            ("[models.'a/../b']\n", 1, "no part is .."),
            ("[models.a]\n\naliases = ['']\n", 3, "letters, digits"),
            ('[chains]\n\n"bad\\r\\nx" = ["a"]\n', 3, "letters, digits"),
            ("[models.a]\n\ntask = 'listen'\n", 3, "models.a.task"),
            ("[models.a]\noptions = ['x']\n", 2, "name:value"),
            ("[models.b]\n[models.a]\nsample_rate = 0\n", 3, "models.a.sample_rate"),
            ("[chains]\ntts-1 = ['a']\ntts-2 = []\n", 3, "chains.tts-2"),
            ("[chains]\ntts-1 = 'kokoro'\n", 2, "chains.tts-1"),
            ("[models\n", 1, "cannot be read"),
            ("[chains]\na.b = ['a']\n", 2, "in quotes"),
            ("[models.a]\naliases = 'foo'\n", 2, "valid list"),
        ],
    )
    def test_a_mistake_is_told_with_its_line(self, tmp_path: Path, text: str, line: int, complaint: str) -> None:
        (tmp_path / "models.toml").write_text(text)
        with pytest.raises(ConfigurationError) as caught:
            read_models_file(tmp_path / "models.toml")
        assert f"line {line}" in caught.value.message
        assert complaint in caught.value.message
        assert str(tmp_path) not in caught.value.message


class TestCatalogue:
    def test_a_remote_engine_is_a_model_without_files(self, tmp_path: Path) -> None:
        text = """
            [models.cloud]
            engine = "openai"
            task = "tts"
            url = "https://example.invalid/v1"
            options = ["voice:nova"]
            aliases = ["far"]
            languages = ["en", "de"]
            licence = "theirs"
            sample_rate = 24000
            """
        found = catalogue(tmp_path, text).lookup("FAR", TTS)
        assert (found.id, found.engine, found.task, found.installed) == ("cloud", "openai", TTS, True)
        assert found.options == {"url": "https://example.invalid/v1", "voice": "nova"}
        assert (found.languages, found.licence, found.sample_rate) == (("en", "de"), "theirs", 24000)

    def test_options_of_a_model_of_the_catalogue(self, tmp_path: Path) -> None:
        made = catalogue(tmp_path, '[models.base]\noptions = { beam_size = 2 }\naliases = ["mine"]\n')
        assert made.lookup("mine", ASR).id == "whisper-base"
        assert made.resolve("whisper-base").options == {"beam_size": 2}
        assert made.resolve("whisper-base").aliases[-1] == "mine"
        assert made.resolve("whisper-small").options == {}
        with pytest.raises(ModelNotFound, match="voice-stack models pull whisper-base"):
            made.require(made.lookup("mine", ASR))

    def test_a_folder_tells_its_engine(self, tmp_path: Path) -> None:
        whisper_folder(tmp_path / "weights" / "mine")
        made = catalogue(tmp_path, '[models.film]\npath = "weights/mine"\noptions = ["beam_size:1"]\n')
        found = made.require(made.lookup("film", ASR))
        assert (found.engine, found.task, found.languages) == ("faster-whisper", ASR, ("en",))
        assert (found.path, found.translates) == (tmp_path / "weights" / "mine", False)
        assert [ref.id for ref in made.entries(ASR)].count("film") == 1

    def test_a_folder_of_the_cache_gets_options(self, tmp_path: Path) -> None:
        whisper_folder(tmp_path / "cache" / "models" / "mine")
        made = catalogue(tmp_path, "[models.mine]\noptions = { beam_size = 1 }\n")
        found = made.lookup("mine", ASR)
        assert (found.options, found.path) == ({"beam_size": 1}, tmp_path / "cache" / "models" / "mine")
        assert [ref.id for ref in made.entries()].count("mine") == 1

    def test_weights_that_are_not_there_yet(self, tmp_path: Path) -> None:
        made = catalogue(tmp_path, '[models.later]\nengine = "whisper"\ntask = "asr"\npath = "later.pt"\n')
        with pytest.raises(ModelNotFound, match=r"models\.toml"):
            made.require(made.lookup("later", ASR))
        (tmp_path / "later.pt").write_bytes(b"weights")
        assert made.require(made.lookup("later", ASR)).path == tmp_path / "later.pt"

    @pytest.mark.parametrize(
        ("text", "line", "complaint"),
        [
            ("[models.a]\ntask = 'asr'\n", 1, "needs an engine"),
            ("[models.a]\nengine = 'fake'\n", 1, "needs a task"),
            ("\n[models.base]\nengine = 'whisper'\n", 2, "is whisper-base of the catalogue"),
            ("[models.base]\n[models.whisper-base]\n", 2, "is whisper-base of the catalogue"),
            ("[models.a]\nengine = 'fake'\ntask = 'asr'\naliases = ['Kokoro']\n", 4, "two meanings"),
            ("[models.whisper-1]\nengine = 'fake'\ntask = 'asr'\n", 1, "two meanings"),
            ("[models.whisper-bas]\noptions = {}\n", 1, "no model of the catalogue"),
            ("[models.a]\nengine = 'nope'\n", 1, "engine 'nope', if there is one"),
            ("[chains]\n'whisper-tiny.en' = ['whisper-base']\n", 2, "two meanings"),
            ("[models.a]\nengine = 'fake'\ntask = 'asr'\n[chains]\na = ['base']\n", 5, "two meanings"),
            ("[chains]\nboth = ['whisper-base', 'kokoro']\n", 2, "mixes tasks"),
            ("[chains]\ntts-1 = ['whisper-base', 'openai']\n", 2, "mixes tasks"),
            ("[chains]\nboth = ['openai/whisper-1', 'kokoro']\n", 2, "mixes tasks"),
        ],
    )
    def test_a_contradiction_is_told_with_its_line(self, tmp_path: Path, text: str, line: int, complaint: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            catalogue(tmp_path, text)
        assert f"line {line}: " in caught.value.message
        assert complaint in caught.value.message

    @pytest.mark.parametrize("name", ["whisper-base", "whisper-1", "base"])
    def test_what_a_chain_may_be_called(self, tmp_path: Path, name: str) -> None:
        made = catalogue(tmp_path, f'[chains]\n"{name}" = ["openai", "whisper-base"]\n')
        assert made.chain(name, ASR) == ("openai", "whisper-base")

    def test_chains_belong_to_the_task_of_their_models(self, tmp_path: Path) -> None:
        made = catalogue(tmp_path, '[chains]\ntts-1 = ["kokoro", "xtts_v2"]\n')
        assert made.chain("TTS-1", TTS) == ("kokoro", "xtts_v2")
        assert made.chain("tts-1", ASR) == made.chain("kokoro", TTS) == ()
        assert (made.chains(TTS), made.chains(SPEAKERS)) == ({"tts-1": ("kokoro", "xtts_v2")}, {})


class TestEngines:
    @pytest.mark.parametrize(
        ("text", "line", "complaint"),
        [
            ("[models.a]\ntask = 'asr'\nengine = 'fkae'\n", 3, "unknown engine 'fkae'; there are: faster-whisper, "),
            ("[models.a]\nengine = 'kokoro'\ntask = 'asr'\n", 2, "unknown engine 'kokoro'"),
            ("[models.a]\nengine = 'openai'\ntask = 'asr'\nurl = 'nonsense'\n", 4, "option 'url' of the engine openai"),
            ("[models.a]\nengine = 'openai'\ntask = 'asr'\n[models.a.options]\nurl = 'x'\n", 5, "option 'url'"),
            ("[models.a]\nengine = 'fake'\ntask = 'asr'\n\noptions = { dealy = 1 }\n", 5, "unknown option 'dealy'"),
            ("[models.base]\noptions = ['beam_size:many']\n", 2, "option 'beam_size' of the engine faster-whisper"),
        ],
    )
    def test_what_they_do_not_know(self, tmp_path: Path, text: str, line: int, complaint: str) -> None:
        made = catalogue(tmp_path, text)
        check(made, TTS, listeners())
        with pytest.raises(ConfigurationError, match=rf"^models\.toml, line {line}: {complaint}"):
            check(made, ASR, listeners())

    def test_what_the_settings_may_bring_is_not_missed(self, tmp_path: Path) -> None:
        text = "[models.a]\nengine = 'openai'\ntask = 'asr'\noptions = ['model:large']\n"
        check(catalogue(tmp_path, text), ASR, listeners())

    def test_weights_that_are_not_there_are_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        text = "[models.a]\nengine = 'whisper'\ntask = 'asr'\npath = 'a.pt'\n[models.base]\n"
        warn_of_paths(catalogue(tmp_path, text), ASR)
        assert [record.message.partition(":")[0] for record in caplog.records] == ["models.toml, line 4"]
