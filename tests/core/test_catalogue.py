"""The catalogue: what its data says, and what a name means."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.diarization.engine_factory import TABLE as DIARIZERS
from asr.engine_factory import TABLE as ASR_ENGINES
from core.catalogue import Catalogue
from core.errors import ModelNotFound
from core.model_entry import TASKS, CatalogueData, read_catalogue
from core.sources.hub import HubSource
from core.sources.npm import NpmSource
from core.sources.wheels import WheelSource
from tts.engine_factory import TABLE as TTS_ENGINES
from utils.digest import sha256_of

ASR, TTS, SPEAKERS = TASKS
ENGINES = {ASR: ASR_ENGINES, TTS: TTS_ENGINES, SPEAKERS: DIARIZERS}
DATA = Path(sys.modules["core"].__path__[0]) / "catalogue.toml"


@pytest.fixture(scope="module")
def data() -> CatalogueData:
    return read_catalogue(DATA)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue.load(tmp_path / "cache")


def install(catalogue: Catalogue, model: str) -> Path:
    """Make a model look pulled."""
    folder = catalogue.store.folder(model)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return folder


def whisper_folder(folder: Path, *, end_of_text: int = 50257) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "config.json").write_text(json.dumps({"suppress_ids_begin": [220, end_of_text]}))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def piper_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "de_DE-x-low.onnx").write_bytes(b"weights")
    config = {"phoneme_id_map": {}, "espeak": {"voice": "de-x"}, "audio": {"sample_rate": 16000}}
    (folder / "de_DE-x-low.onnx.json").write_text(json.dumps(config))
    return folder


def speaker_folder(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"weights")
    return folder


def kokoro_folder(folder: Path) -> Path:
    (folder / "voices").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / "voices" / "af_heart.bin").write_bytes(b"voice")
    return folder


def coqui_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    config = {
        "model": "xtts",
        "languages": ["en", "zh-cn"],
        "audio": {"sample_rate": 22050, "output_sample_rate": 24000},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


class TestData:
    def test_every_engine_exists(self, data: CatalogueData) -> None:
        for entry in data.models:
            assert entry.engine in ENGINES[entry.task], entry.id

    def test_every_file_is_pinned_or_says_that_nobody_read_its_hash(self, data: CatalogueData) -> None:
        for entry in data.models:
            assert bool(entry.sources) != entry.weightless, entry.id
            for spec in entry.files:
                assert spec.verified == (spec.sha256 is not None)
                assert (spec.size is None) == (spec.sha256 is None)

    def test_every_package_is_pinned(self, data: CatalogueData) -> None:
        packages = [
            package
            for entry in data.models
            for source in entry.sources
            if not isinstance(source, HubSource)
            for package in ([source.package] if isinstance(source, NpmSource) else source.packages)
        ]
        assert len(packages) == 13
        assert all(package.sha256 for package in packages)

    def test_members_name_files_and_packages_that_exist(self, data: CatalogueData) -> None:
        for entry in data.models:
            for source in entry.sources:
                if isinstance(source, WheelSource):
                    assert set(source.members) <= {spec.path for spec in entry.files}
                    used = {part.partition("/")[0] for parts in source.members.values() for part in parts}
                    assert used == {package.name for package in source.packages}

    def test_names_no_registry(self) -> None:
        addresses = re.findall(r"https?://\S+", DATA.read_text())
        assert addresses == ['https://coqui.ai/cpml"']

    def test_kokoro_has_54_voices_of_the_right_size_all_optional(self, data: CatalogueData) -> None:
        kokoro = next(entry for entry in data.models if entry.id == "kokoro-82m-int8")
        voices = [spec for spec in kokoro.files if spec.path.startswith("voices/")]
        assert len(voices) == 54
        assert {(spec.size, spec.optional) for spec in voices} == {(510 * 256 * 4, True)}

    def test_the_speaker_encoder_is_the_same_alone_and_in_the_pipeline(self, data: CatalogueData) -> None:
        entries = {entry.id: entry for entry in data.models}
        alone, *more = entries["wespeaker-resnet34-lm"].files
        assert more == []
        assert alone in entries["diarization-community1"].files

    def test_only_models_that_can_translate_say_so(self, data: CatalogueData) -> None:
        translating = {entry.id for entry in data.models if entry.translates}
        sizes = ["tiny", "base", "small", "medium", "large-v1", "large-v2", "large-v3"]
        assert translating == {f"whisper-{size}" for size in sizes}

    def test_created_is_the_day_of_the_release(self, catalogue: Catalogue) -> None:
        assert catalogue.resolve("large-v3").created == 1699228800

    def test_only_large_v3_and_its_turbo_know_cantonese(self, data: CatalogueData) -> None:
        assert {e.id for e in data.models if "yue" in e.languages} == {"whisper-large-v3", "whisper-large-v3-turbo"}


class TestBadData:
    MODEL = """
        [defaults]
        text-to-speech = []
        [[models]]
        id = "m"
        aliases = ["{alias}"]
        task = "text-to-speech"
        engine = "piper"
        languages = ["en"]
        licence = {licence}
        owned_by = "x"
        released = 2024-01-01
        files = [{file}]
        sources = []
        """

    @pytest.mark.parametrize(
        ("field", "value", "complaint"),
        [
            ("file", '{ path = "../x", verified = false }', "not a path inside"),
            ("file", '{ path = "/x", verified = false }', "not a path inside"),
            ("file", '{ path = "x" }', "give a sha256, or verified = false"),
            ("file", '{ path = "x", sha256 = "abc" }', "sha256"),
            ("licence", '{ name = "CPML", restricted = true }', "needs the url"),
            ("alias", "M2", "two meanings"),
        ],
    )
    def test_is_refused(self, tmp_path: Path, field: str, value: str, complaint: str) -> None:
        fields = {"alias": "other", "licence": '"MIT"', "file": '{ path = "x", verified = false }'} | {field: value}
        text = self.MODEL.format(**fields)
        second = text[text.index("[[models]]") :].replace('id = "m"', 'id = "m2"').replace('["M2"]', "[]")
        path = tmp_path / "catalogue.toml"
        path.write_text(text + (second if field == "alias" else ""))
        with pytest.raises(ValueError, match=complaint):
            read_catalogue(path)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "model"),
        [
            ("base", "whisper-base"),
            ("openai/whisper-base", "whisper-base"),
            ("Systran/faster-whisper-base", "whisper-base"),
            ("WHISPER-BASE", "whisper-base"),
            ("turbo", "whisper-large-v3-turbo"),
            ("distil-large-v3", "whisper-distil-large-v3"),
            ("kokoro", "kokoro-82m-int8"),
            ("xtts-v2", "xtts_v2"),
            ("pyannote/speaker-diarization-community-1", "diarization-community1"),
            ("Wespeaker/wespeaker-voxceleb-resnet34-LM", "wespeaker-resnet34-lm"),
            ("Resemblyzer", "ge2e"),
            ("tts_models/multilingual/multi-dataset/xtts_v2", "xtts_v2"),
        ],
    )
    def test_aliases(self, catalogue: Catalogue, name: str, model: str) -> None:
        assert catalogue.resolve(name).id == model
        assert catalogue.lookup(name).id == model

    @pytest.mark.parametrize(
        ("task", "name"),
        [
            (ASR, "whisper-1"),
            (ASR, "gpt-transcribe"),
            (ASR, "gpt-live-transcribe"),
            (ASR, "gpt-realtime-whisper"),
            (ASR, "gpt-4o-transcribe"),
            (ASR, "gpt-4o-transcribe-diarize"),
            (ASR, "gpt-4o-mini-transcribe"),
            (ASR, "gpt-4o-mini-transcribe-2025-12-15"),
            (TTS, "tts-1"),
            (TTS, "tts-1-hd"),
            (TTS, "gpt-4o-mini-tts"),
            (TTS, "gpt-4o-mini-tts-2025-12-15"),
        ],
    )
    def test_openai_names_mean_the_default(self, catalogue: Catalogue, task: str, name: str) -> None:
        default = "small" if task == ASR else "en_US-joe-medium"
        assert catalogue.lookup(name, task, default=default) == catalogue.resolve(default)

    @pytest.mark.parametrize("model", ["community-1", "speaker-diarization-community-1", "speaker-diarization-3.1"])
    def test_an_outside_engines_models_are_its_own_whatever_the_aliases(self, tmp_path: Path, model: str) -> None:
        catalogue = Catalogue.load(tmp_path, engine="pyannote")
        name = f"pyannote/{model}"
        found = catalogue.resolve(name, SPEAKERS)
        assert (found.id, found.engine, found.installed) == (name, "pyannote", True)
        assert catalogue.lookup(name, SPEAKERS, default=name) == found, "a client names what the operator chose"
        assert catalogue.resolve("ge2e", SPEAKERS).engine == "ge2e"

    def test_a_folder_for_an_outside_engine_is_not_the_model_it_is_called_like(self, tmp_path: Path) -> None:
        outside = Catalogue.load(tmp_path / "cache", engine="morse")
        for name, id_ in (("mine", "mine"), ("whisper-base", str(tmp_path / "whisper-base"))):
            (tmp_path / name).mkdir()
            found = outside.resolve(str(tmp_path / name), ASR)
            assert (found.id, found.engine, found.path) == (id_, "morse", tmp_path / name)
        assert outside.lookup("whisper-base", ASR, default=found).engine == "faster-whisper"

    def test_names_of_other_pipelines_mean_the_default_diarization_model(self, catalogue: Catalogue) -> None:
        for name in ("pyannote/speaker-diarization-3.1", "", None):
            assert catalogue.lookup(name, SPEAKERS, default="ge2e").id == "ge2e"
        with pytest.raises(ModelNotFound):
            catalogue.lookup("whisper-1", SPEAKERS, default="ge2e")

    @pytest.mark.parametrize("name", [None, "", "  "])
    def test_no_name_means_the_default(self, catalogue: Catalogue, name: str | None) -> None:
        assert catalogue.lookup(name, TTS, default="kokoro").id == "kokoro-82m-int8"

    def test_names_of_the_other_task_are_unknown(self, catalogue: Catalogue) -> None:
        with pytest.raises(ModelNotFound, match="kokoro-82m-int8, piper-en_US-joe-medium, xtts_v2"):
            catalogue.lookup("whisper-1", TTS, default="kokoro")
        with pytest.raises(ModelNotFound, match="'whisper-base' does automatic-speech-recognition"):
            catalogue.lookup("whisper-base", TTS, default="kokoro")

    def test_an_unknown_name_lists_what_there_is(self, catalogue: Catalogue) -> None:
        with pytest.raises(ModelNotFound, match=r"'nope' does not exist; .*: whisper-base, .*xtts_v2") as caught:
            catalogue.resolve("nope")
        assert caught.value.param == "model"

    def test_what_is_here_is_told_before_what_can_be_pulled(self, catalogue: Catalogue, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound, match="exist; installed: none; can be pulled: whisper-base"):
            catalogue.lookup("nope", ASR)
        install(catalogue, "whisper-small")
        outside = Catalogue.load(catalogue.store.cache, engine="fake", data=DATA)
        for name, start in (("nope", "'nope' does not exist; "), ("xtts_v2", f"does text-to-speech; for {ASR}: ")):
            with pytest.raises(ModelNotFound) as caught:
                outside.lookup(name, ASR, default="fake")
            here, _, others = caught.value.message.partition(start)[2].partition("; ")
            assert here == "installed: fake, whisper-small"
            assert others.startswith("can be pulled: whisper-base, ")
            assert "whisper-small" not in others.split(", ")

    def test_a_long_name_is_not_repeated_whole(self, catalogue: Catalogue) -> None:
        with pytest.raises(ModelNotFound) as caught:
            catalogue.lookup("n" * 60_000, ASR)
        assert "n" * 200 in caught.value.message
        assert "n" * 201 not in caught.value.message

    def test_known_but_not_pulled(self, catalogue: Catalogue) -> None:
        ref = catalogue.resolve("base")
        assert not ref.installed
        assert ref.path is None
        with pytest.raises(ModelNotFound, match="voice-stack models pull whisper-base"):
            catalogue.require(ref)

    def test_pulled(self, catalogue: Catalogue) -> None:
        folder = install(catalogue, "whisper-base")
        ref = catalogue.require(catalogue.resolve("base"))
        assert ref.path == folder
        assert ref.languages[0] == "en"
        assert (ref.owned_by, ref.licence, ref.translates) == ("openai", "MIT", True)

    def test_a_folder_without_a_finished_pull_is_not_installed(self, catalogue: Catalogue) -> None:
        whisper_folder(catalogue.store.folder("whisper-base"))
        assert not catalogue.resolve("whisper-base").installed


class TestWithoutFiles:
    def test_is_installed_wherever_it_is_asked_for(self, catalogue: Catalogue) -> None:
        ref = catalogue.require(catalogue.resolve("channels"))
        assert (ref.path, ref.installed, ref.weightless, ref.size) == (None, True, True, 0)
        assert [ref.id for ref in catalogue.entries(SPEAKERS) if ref.installed] == ["channels"]

    def test_pulling_and_verifying_it_does_nothing(self, catalogue: Catalogue, tmp_path: Path) -> None:
        assert catalogue.pull("channels").files == ()
        assert catalogue.verify("channels") == []
        assert list(tmp_path.iterdir()) == []

    def test_there_is_nothing_to_remove(self, catalogue: Catalogue) -> None:
        with pytest.raises(ModelNotFound, match="not installed"):
            catalogue.remove("channels")


class TestFallback:
    def test_xtts_that_is_not_installed_is_the_default(self, catalogue: Catalogue) -> None:
        ref = catalogue.lookup("xtts_v2", TTS, default="kokoro")
        assert (ref.id, ref.stands_in_for) == ("kokoro-82m-int8", "xtts_v2")

    def test_xtts_that_is_installed_is_itself(self, catalogue: Catalogue) -> None:
        install(catalogue, "xtts_v2")
        ref = catalogue.lookup("xtts_v2", TTS, default="kokoro")
        assert (ref.id, ref.stands_in_for) == ("xtts_v2", None)

    def test_xtts_as_the_default_is_asked_for_by_name(self, catalogue: Catalogue) -> None:
        ref = catalogue.lookup("xtts-v2", TTS, default="xtts_v2")
        assert (ref.id, ref.installed, ref.stands_in_for) == ("xtts_v2", False, None)

    def test_other_models_do_not_fall_back(self, catalogue: Catalogue) -> None:
        assert not catalogue.lookup("whisper-small", ASR, default="base").installed


class TestFolders:
    def test_whisper(self, catalogue: Catalogue, tmp_path: Path) -> None:
        folder = whisper_folder(tmp_path / "mine")
        ref = catalogue.resolve(str(folder), ASR)
        assert (ref.id, ref.engine, ref.path, ref.installed) == ("mine", "faster-whisper", folder, True)
        assert (ref.translates, ref.languages) == (True, ())

    def test_english_only_whisper(self, catalogue: Catalogue, tmp_path: Path) -> None:
        ref = catalogue.resolve(str(whisper_folder(tmp_path / "mine", end_of_text=50256)))
        assert (ref.translates, ref.languages) == (False, ("en",))

    def test_piper(self, catalogue: Catalogue, tmp_path: Path) -> None:
        ref = catalogue.resolve(str(piper_folder(tmp_path / "mine")), TTS)
        assert (ref.engine, ref.languages, ref.sample_rate) == ("piper", ("de",), 16000)

    def test_kokoro(self, catalogue: Catalogue, tmp_path: Path) -> None:
        ref = catalogue.resolve(str(kokoro_folder(tmp_path / "mine")), TTS)
        assert (ref.engine, ref.sample_rate) == ("kokoro", 24000)

    def test_coqui(self, catalogue: Catalogue, tmp_path: Path) -> None:
        ref = catalogue.resolve(str(coqui_folder(tmp_path / "mine")), TTS)
        assert (ref.engine, ref.languages, ref.sample_rate) == ("coqui", ("en", "zh"), 24000)

    @pytest.mark.parametrize("kind", ["ort", "onnx"])
    def test_community1(self, catalogue: Catalogue, tmp_path: Path, kind: str) -> None:
        folder = speaker_folder(tmp_path / "mine", f"segmentation.{kind}", f"embedding.{kind}", "plda_psi.bin")
        ref = catalogue.resolve(str(folder), SPEAKERS)
        assert (ref.engine, ref.path, ref.languages) == ("community1", folder, ())

    def test_a_speaker_encoder_alone(self, catalogue: Catalogue, tmp_path: Path) -> None:
        assert catalogue.resolve(str(speaker_folder(tmp_path / "mine", "embedding.onnx"))).engine == "fast"

    def test_a_segmentation_model_alone_is_nothing(self, catalogue: Catalogue, tmp_path: Path) -> None:
        folder = speaker_folder(tmp_path / "mine", "segmentation.ort", "plda_psi.bin")
        with pytest.raises(ModelNotFound, match="no engine knows"):
            catalogue.resolve(str(folder), SPEAKERS)

    def test_relative_and_home(self, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = whisper_folder(tmp_path / "mine")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert catalogue.resolve("./mine").path == folder
        assert catalogue.resolve("~/mine").path == folder

    def test_of_the_wrong_task(self, catalogue: Catalogue, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound, match="does text-to-speech"):
            catalogue.resolve(str(piper_folder(tmp_path / "mine")), ASR)

    def test_that_no_engine_knows(self, catalogue: Catalogue, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(ModelNotFound, match="no engine knows the files in the folder 'empty'"):
            catalogue.resolve(str(tmp_path / "empty"))

    def test_a_file_that_no_engine_knows(self, catalogue: Catalogue, tmp_path: Path) -> None:
        file = tmp_path / "x.gguf"
        for content, complaint in ((b"", "'x.gguf' is empty"), (b"GGUF\x03", "'x.gguf': cut short, damaged")):
            file.write_bytes(content)
            with pytest.raises(ModelNotFound, match=complaint):
                catalogue.resolve(str(file), ASR)

    def test_an_engine_of_somebody_else_opens_it(self, tmp_path: Path) -> None:
        catalogue = Catalogue.load(tmp_path / "cache", engine="acme")
        (tmp_path / "theirs").mkdir()
        ref = catalogue.resolve(str(tmp_path / "theirs"), TTS)
        assert (ref.engine, ref.task, ref.path) == ("acme", TTS, tmp_path / "theirs")

    def test_an_engine_of_somebody_else_without_weights(self, tmp_path: Path) -> None:
        ref = Catalogue.load(tmp_path, engine="acme").resolve("acme", ASR)
        assert (ref.engine, ref.path, ref.installed) == ("acme", None, True)

    def test_a_clients_name_is_never_a_path(self, catalogue: Catalogue, tmp_path: Path) -> None:
        folder = str(whisper_folder(tmp_path / "mine"))
        with pytest.raises(ModelNotFound):
            catalogue.lookup(folder, ASR, default="base")
        with pytest.raises(ModelNotFound):
            catalogue.lookup("../cache/models/x", ASR, default="base")

    def test_but_a_client_may_name_the_default(self, catalogue: Catalogue, tmp_path: Path) -> None:
        folder = whisper_folder(tmp_path / "mine")
        for name in (str(folder), "mine", "whisper-1", ""):
            assert catalogue.lookup(name, ASR, default=str(folder)).path == folder

    def test_put_into_the_cache_by_hand_is_listed_and_found(self, catalogue: Catalogue) -> None:
        folder = whisper_folder(catalogue.store.folder("my-whisper"))
        (catalogue.store.models / "junk").mkdir()
        assert [ref.id for ref in catalogue.entries(ASR) if ref.installed] == ["my-whisper"]
        assert catalogue.lookup("my-whisper", ASR, default="base").path == folder
        assert "my-whisper" not in [ref.id for ref in catalogue.entries(TTS)]


def test_importing_and_reading_it_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, voice_stack; from core.catalogue import Catalogue;"
        "Catalogue.load(pathlib.Path(sys.argv[1])).resolve('base');"
        "print(sorted({'numpy', 'huggingface_hub', 'httpx', 'requests', 'torch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.e2e
@pytest.mark.parametrize(
    "model",
    [
        "whisper-base",
        "whisper-tiny.en",
        "kokoro-82m-int8",
        "piper-en_US-joe-medium",
        "diarization-community1",
        "wespeaker-resnet34-lm",
    ],
)
def test_pulled_models_have_the_pinned_hashes(
    data: CatalogueData, model: str, model_dir: Callable[[str], Path]
) -> None:
    folder = model_dir(model)
    entry = next(entry for entry in data.models if entry.id == model)
    for spec in entry.files:
        path = folder / spec.path
        if path.is_file() or not spec.optional:
            assert (path.stat().st_size, sha256_of(path)) == (spec.size, spec.sha256), spec.path
