"""The models of a service: chains, models loaded at start, options of each; with real workers of the fake engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from asr.engines.fake import FakeAsrEngine, FakeWindowEngine
from asr.service import AsrService
from asr.settings import AsrSettings
from core import errors
from core.settings import Places

OWN = """
    [models.one]
    engine = "fake"
    task = "asr"
    options = { delay = 0.01 }

    [models.two]
    engine = "fake-windows"
    task = "asr"

    [models.slow]
    engine = "fake"
    task = "asr"
    options = { load_delay = 2.0 }

    [models.three]
    engine = "fake"
    task = "asr"

    [models.broken]
    engine = "fake"
    task = "asr"
    options = { load_fails = true }

    [chains]
    best = ["whisper-large-v3", "one", "two", "ONE"]
    none = ["whisper-large-v3", "whisper-small"]
    voices = ["kokoro"]
    first-broken = ["broken", "one"]
    broken-only = ["broken"]
    cloud = ["openai/whisper-1", "whisper-sever", "one"]
    far = ["openai/whisper-1", "openai/large"]
    tts-1 = ["openai/tts-1", "elevenlabs"]
    voice = ["openai", "openai/tts-1-hd"]
    nobody = ["whisper-sever", "broken/x"]
    typo = ["whisper-sever", "two"]
    """


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Callable[..., AsrService]]:
    """A function that makes a service with the models of OWN, which is closed in the end."""
    made: list[AsrService] = []
    (tmp_path / "models.toml").write_text(OWN, encoding="utf-8")
    places = Places.model_construct(
        cache=tmp_path / "cache",
        state=tmp_path / "state",
        tmp=tmp_path / "tmp",
        models=None,
        models_file=tmp_path / "models.toml",
    )

    def make(**more: Any) -> AsrService:
        settings = {"engine": "fake", "model": "one", "preload": False, "places": places, **more}
        made.append(AsrService(AsrSettings(**settings)))
        return made[-1]

    yield make
    for service in made:
        await service.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def states(service: AsrService) -> dict[str, str]:
    return {row["id"]: row["state"] for row in service.host.details()}


class TestChains:
    async def test_those_that_can_be_used_in_their_order(self, serve: Callable[..., AsrService]) -> None:
        host = serve().host
        assert [model.id for model in host.chain("best")] == ["one", "two"]
        assert host.resolve("BEST").id == "one"
        assert host.knows("best")
        assert not host.knows("voices")

    async def test_every_other_name_is_a_chain_of_one(self, serve: Callable[..., AsrService]) -> None:
        host = serve().host
        assert [[model.id for model in host.chain(name)] for name in (None, "", "two")] == [["one"], ["one"], ["two"]]
        with pytest.raises(errors.ModelNotFound):
            host.chain("voices")

    async def test_a_chain_with_nothing_to_use_says_what_to_pull(self, serve: Callable[..., AsrService]) -> None:
        with pytest.raises(errors.ModelNotFound, match="models pull whisper-large-v3"):
            serve().host.chain("none")

    async def test_a_missing_library_passes_a_model_over(
        self, serve: Callable[..., AsrService], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host = serve(model="two").host
        monkeypatch.setattr(FakeWindowEngine, "requires", ())
        monkeypatch.setattr(FakeAsrEngine, "requires", ("no_such_library",))
        assert [model.id for model in host.chain("best")] == ["two"]
        with pytest.raises(errors.NotSupported, match=r"engine fake of one .* pip install no_such_library"):
            host.chain("one")

    async def test_the_default_may_be_a_chain(self, serve: Callable[..., AsrService]) -> None:
        host = serve(model="best").host
        assert (host.default().id, host.resolve(None).id) == ("one", "one")
        assert [model.id for model in host.chain(None)] == ["one", "two"]

    async def test_a_client_of_a_server_goes_by_the_name_of_its_engine(
        self, serve: Callable[..., AsrService], caplog: pytest.LogCaptureFixture
    ) -> None:
        service = serve()
        remote, local = service.host.chain("cloud")
        assert (remote.id, remote.engine, remote.installed, local.id) == ("openai/whisper-1", "openai", True, "one")
        assert [service.host.worker(model).spec.takes_slot for model in (remote, local)] == [False, True]
        assert "'whisper-sever' of the chain cloud is no model" in caplog.text
        assert service.host.named("openai/whisper-1") == service.host.resolve("openai/whisper-1") == remote
        for name in ("openai/whisper-2", "openai"):
            with pytest.raises(errors.ModelNotFound):
                service.host.chain(name)

    async def test_a_chain_of_clients_is_for_the_task_that_has_their_engines(
        self, serve: Callable[..., AsrService], caplog: pytest.LogCaptureFixture
    ) -> None:
        service = serve()
        assert [model.id for model in service.host.chain("far")] == ["openai/whisper-1", "openai/large"]
        assert service.host.knows("far")
        assert not service.diarizer.host.knows("far")
        for name in ("tts-1", "voice", "nobody"):
            assert not service.host.knows(name), name
            with pytest.raises(errors.ModelNotFound, match=f"'{name}' does not exist"):
                service.host.chain(name)
        assert not [chain for chain in ("far", "tts-1", "voice", "voices") if f"of the chain {chain} " in caplog.text]

    @pytest.mark.parametrize("fallback", [False, True])
    async def test_where_a_chain_is_the_default_every_other_name_is_as_ever(
        self, serve: Callable[..., AsrService], *, fallback: bool
    ) -> None:
        host = serve(model="best", model_fallback=fallback).host
        for name in (None, "whisper-1", "best", *(["nonsense"] if fallback else [])):
            assert [model.id for model in host.chain(name)] == ["one", "two"], name
        assert [model.id for model in host.chain("three")] == ["three"]
        assert host.resolve("openai/whisper-1").engine == "openai"
        if not fallback:
            with pytest.raises(errors.ModelNotFound, match="'nonsense' does not exist; installed: one"):
                host.chain("nonsense")

    async def test_the_default_of_a_chain_passes_names_over_too(self, serve: Callable[..., AsrService]) -> None:
        assert serve(model="typo").host.default().id == "two"
        with pytest.raises(errors.ModelNotFound, match="'nobody' does not exist"):
            serve(model="nobody").host.default()

    async def test_models_by_name_are_found_while_the_default_is_not_there(
        self, serve: Callable[..., AsrService]
    ) -> None:
        host = serve(model="nope").host
        assert host.resolve("one").id == "one"
        with pytest.raises(errors.ModelNotFound, match="'nope' does not exist"):
            host.resolve("whisper-1")

    async def test_its_own_name_is_no_name_of_a_model(self, serve: Callable[..., AsrService]) -> None:
        host = serve(model_fallback=True).host
        assert (host.named("ONE").id, host.named("whisper-large-v3").installed) == ("one", False)
        for name in ("best", "whisper-1", "", "nonsense"):
            with pytest.raises(errors.ModelNotFound, match="is a chain" if name == "best" else "does not exist"):
                host.named(name)

    async def test_those_that_are_down_come_last(self, serve: Callable[..., AsrService]) -> None:
        host = serve().host
        assert [model.id for model in host.answering("first-broken")] == ["broken", "one"]
        host.resting.note(host.resolve("broken"), errors.Unavailable("down"))
        assert [model.id for model in host.answering("first-broken")] == ["one", "broken"]
        host.resting.note(host.resolve("broken"), None)
        with pytest.raises(errors.ConfigurationError):
            await host.load(host.resolve("broken"))
        assert [model.id for model in host.answering("first-broken")] == ["one", "broken"]

    async def test_what_means_nothing_is_told_at_start(
        self, serve: Callable[..., AsrService], caplog: pytest.LogCaptureFixture
    ) -> None:
        serve(engine="fake-windows")
        told = "\n".join(record.message for record in caplog.records)
        assert "no name of the chain nobody (whisper-sever, broken/x) is a model" in told
        assert "'whisper-sever' of the chain typo is no model" in told
        assert "ASR_ENGINE is fake-windows, but the model one is for the engine fake" in told
        assert "chain best" not in told

    async def test_a_default_chain_is_ready_when_one_of_it_is(self, serve: Callable[..., AsrService]) -> None:
        service = serve(model="first-broken", preload=True)
        await service.start()
        await service.host.loaded()
        assert service.host.ready
        assert service.host.health()["model"] == "one"
        assert states(service) == {"broken": "failed", "one": "ready"}
        assert service.host.resting.why(service.host.catalogue.resolve("broken")), "requests need not wait for it"

    async def test_a_default_chain_of_which_none_can_be_loaded(self, serve: Callable[..., AsrService]) -> None:
        for chain, error in (("broken-only", errors.ConfigurationError), ("none", errors.ModelNotFound)):
            service = serve(model=chain, preload=True)
            await service.start()
            with pytest.raises(error):
                await service.host.loaded()
            assert not service.host.ready


class TestBroken:
    async def test_an_engine_that_cannot_be_imported_is_told_and_breaks_nothing(
        self,
        serve: Callable[..., AsrService],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        info = tmp_path / "bad-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[voice_stack.asr_engines]\nbad = bad_engine:Engine\n")
        (tmp_path / "bad_engine.py").write_text("raise OSError('/secret/lib.so: cannot open')\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delenv("VOICE_STACK_PLUGINS", raising=False)
        service = serve(engine="bad", model="bad", preload=True)
        await service.start()
        with pytest.raises(errors.NotSupported):
            await service.host.loaded()
        health = service.health()
        assert (health["model"], health["engine"], service.ready, service.concurrent) == ("bad", None, False, None)
        assert "the engine bad of bad cannot be used" in health["reason"]
        assert service.capabilities()["default_model"] == "bad"
        with pytest.raises(errors.NotSupported) as caught:
            service.host.chain(None)
        assert "secret" not in f"{health}{caught.value.message}"
        assert caplog.text.count("/secret/lib.so: cannot open") == 1
        assert service.host.resolve("one").id == "one"


class TestOptions:
    async def test_each_model_has_its_own_over_those_of_the_settings(self, serve: Callable[..., AsrService]) -> None:
        service = serve(engine_options={"delay": "0.5", "segment_seconds": "3"})
        told = {name: service.spec(service.host.resolve(name)).config["engine_options"] for name in ("one", "two")}
        assert told == {"one": {"delay": 0.01, "segment_seconds": "3"}, "two": {}}

    async def test_without_an_engine_they_are_for_that_of_the_default_model(
        self, serve: Callable[..., AsrService]
    ) -> None:
        made = serve()
        given = {name: getattr(made.settings, name) for name in ("places", "preload")}
        service = AsrService(AsrSettings(model="two", engine_options={"slots": "1"}, **given))
        try:
            told = {name: service.spec(service.host.resolve(name)).config["engine_options"] for name in ("one", "two")}
        finally:
            await service.close()
        assert told == {"one": {"delay": 0.01}, "two": {"slots": "1"}}


class TestStart:
    async def test_all_that_are_listed_are_loaded(self, serve: Callable[..., AsrService]) -> None:
        service = serve(preload=True, models=("two", "one"), model_slots=2)
        await service.start()
        await service.host.loaded()
        await until(lambda: states(service) == {"one": "ready", "two": "ready"})
        assert len({row["pid"] for row in service.host.details()}) == 2

    async def test_what_has_no_room_drives_nothing_out(
        self, serve: Callable[..., AsrService], caplog: pytest.LogCaptureFixture
    ) -> None:
        service = serve(preload=True, models=("one", "two", "three"), model_slots=2)
        await service.start()
        await until(lambda: "no room for three" in caplog.text)
        assert states(service) == {"one": "ready", "two": "ready", "three": "unloaded"}

    async def test_one_that_cannot_be_loaded_keeps_none_of_the_others_away(
        self, serve: Callable[..., AsrService], caplog: pytest.LogCaptureFixture
    ) -> None:
        service = serve(preload=True, models=("nope", "broken", "two"), model_slots=3)
        await service.start()
        await until(lambda: states(service).get("two") == "ready")
        assert service.ready
        assert "nope cannot be loaded" in caplog.text
        assert "broken cannot be loaded" in caplog.text

    async def test_those_come_back_when_they_die_and_others_when_they_are_asked_for(
        self, serve: Callable[..., AsrService]
    ) -> None:
        host = serve(models=("two",), model_slots=3).host
        loaded = [host.resolve(name) for name in ("one", "two", "slow")]
        assert [host._stays(model.id) for model in loaded] == [True, True, False]


class TestUnloading:
    async def test_what_is_not_loaded_and_what_is_in_use(self, serve: Callable[..., AsrService]) -> None:
        host = serve().host
        model = host.resolve("one")
        with pytest.raises(errors.NotFound):
            await host.unload(model)
        await host.load(model)
        async with host.call(model, "measure", {"windows": 1}):
            assert host.worker(model).busy
            with pytest.raises(errors.Conflict):
                await host.unload(model)
        await until(lambda: not host.worker(model).busy)
        await host.unload(model)
        assert host.worker(model).state == "unloaded"

    async def test_the_default_model_unloaded_while_it_is_loaded_at_start_is_idle(
        self, serve: Callable[..., AsrService]
    ) -> None:
        service = serve(model="slow", preload=True)
        await service.start()
        await until(lambda: states(service).get("slow") == "loading")
        assert not service.ready
        await service.host.unload(service.host.resolve(None))
        await service.host.loaded()
        assert service.ready
        assert service.host.health()["reason"] is None
        assert states(service) == {"slow": "unloaded"}

    async def test_one_that_could_not_be_loaded_is_not_ready_when_it_is_unloaded(
        self, serve: Callable[..., AsrService]
    ) -> None:
        service = serve(model="broken", preload=True)
        await service.start()
        with pytest.raises(errors.ConfigurationError):
            await service.host.loaded()
        await service.host.unload(service.host.resolve(None))
        assert states(service) == {"broken": "unloaded"}
        assert not service.ready

    async def test_nothing_is_loaded_while_it_shuts_down(self, serve: Callable[..., AsrService]) -> None:
        host = serve().host
        model = host.resolve("one")
        host.drain()
        with pytest.raises(errors.Draining):
            await host.load(model)
        assert host.worker(model).state == "unloaded"

    async def test_two_models_answer_at_the_same_time(self, serve: Callable[..., AsrService]) -> None:
        host = serve().host
        one, two = host.resolve("one"), host.resolve("two")
        async with (
            asyncio.timeout(30),
            host.call(one, "measure", {"windows": 1}) as first,
            host.call(two, "measure", {"windows": 1}) as second,
        ):
            # The second is heard to its end while the first still has its slot.
            assert [event.name async for event in second] == [event.name async for event in first]


async def test_files_that_are_added_to_a_model_count(serve: Callable[..., AsrService], tmp_path: Path) -> None:
    host = serve(model_memory_mb=100).host
    folder = tmp_path / "cache" / "models" / "own"
    folder.mkdir(parents=True)
    sizes = {"config.json": 2, "tokenizer.json": 2, "vocabulary.txt": 3, "model.bin": 1000}
    for name, size in sizes.items():
        (folder / name).write_bytes(b"{}".ljust(size))
    model = host.named("own")
    assert host.worker(model).spec.size == sum(sizes.values())
    (folder / "more.bin").write_bytes(bytes(500))
    assert host.worker(model).spec.size == sum(sizes.values()) + 500


def test_the_first_of_the_list_is_the_default_unless_one_is_named() -> None:
    assert AsrSettings(models="two, one").model == "two"  # type: ignore[arg-type]
    assert AsrSettings(models=("two",), model="one").model == "one"
    assert AsrSettings().model == "whisper-base"
