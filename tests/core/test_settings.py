"""Settings from the environment: every name of the brief, empty values, wrong values, unknown names."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from asr.settings import AsrSettings
from core.settings import Places, ServiceSettings, unknown_names
from tts.settings import TtsSettings

XTTS = "tts_models/multilingual/multi-dataset/xtts_v2"
BRIEF = {
    "PROJECT_NAME": ("project_name", "Voice Stack ASR", "Voice Stack ASR"),
    "API_V1_STR": ("api_v1_str", "/v1", "/v1"),
    "CORS_ORIGINS": ("cors_origins", "http://localhost:3000, http://b", ("http://localhost:3000", "http://b")),
    "LOG_LEVEL": ("log_level", "debug", "DEBUG"),
    "DEBUGPY_ENABLE": ("debugpy_enable", "true", True),
    "DEBUGPY_HOST": ("debugpy_host", "0.0.0.0", "0.0.0.0"),
    "DEBUGPY_PORT": ("debugpy_port", "5679", 5679),
    "DEBUGPY_WAIT_FOR_CLIENT": ("debugpy_wait_for_client", "true", True),
}
BRIEF_ASR = {
    "ASR_DEVICE": ("device", "cpu", "cpu"),
    "ASR_MODEL": ("model", "base", "base"),
    "ASR_ENGINE": ("engine", "faster-whisper", "faster-whisper"),
    "ASR_VAD_ENABLED": ("vad_enabled", "false", False),
    "ASR_LANGUAGE": ("language", "", None),
}
BRIEF_TTS = {
    "TTS_DEVICE": ("device", "cuda", "cuda"),
    "TTS_MODEL": ("model", XTTS, XTTS),
    "TTS_VOICE_DIR": ("voice_dir", "./elsewhere", Path("elsewhere")),
    "TTS_AUTO_LANG": ("auto_lang", "false", False),
    "TTS_MAX_CHARS": ("max_chars", "90", 90),
    "TTS_SAMPLE_RATE": ("sample_rate", "24000", 24000),
}
CASES = [
    *((AsrSettings, name, *case) for name, case in (BRIEF | BRIEF_ASR).items()),
    *((TtsSettings, name, *case) for name, case in (BRIEF | BRIEF_TTS).items()),
]


@pytest.fixture(autouse=True)
def _no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("cls", "name", "field", "given", "expected"), CASES)
def test_every_name_of_the_brief_is_read(
    cls: type[ServiceSettings], name: str, field: str, given: str, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, given)
    assert getattr(cls(), field) == expected


def test_a_dotenv_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("ASR_MODEL=from-file\nASR_PORT=5999\nOTHER=1\n", encoding="utf-8")
    monkeypatch.setenv("ASR_PORT", "6000")
    settings = AsrSettings()
    assert (settings.model, settings.port) == ("from-file", 6000)


def test_engine_options_are_nested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_ENGINE_OPTIONS__BEAM_SIZE", "3")
    assert AsrSettings().engine_options == {"beam_size": "3"}


@pytest.mark.parametrize(
    ("name", "value"), [("ASR_DEVICE", "gpu"), ("ASR_PORT", "70000"), ("API_V1_STR", "v1"), ("MAX_UPLOAD_MB", "0")]
)
def test_a_wrong_value_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        AsrSettings()


@pytest.mark.parametrize(
    ("given", "expected"), [("0", (0,)), ("1", (1,)), ("0,1", (0, 1)), (" 3 , 1,", (3, 1)), ("", (0,))]
)
@pytest.mark.parametrize(("cls", "prefix"), [(AsrSettings, "ASR"), (TtsSettings, "TTS")])
def test_one_or_several_devices_may_be_listed(
    cls: type[ServiceSettings], prefix: str, given: str, expected: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{prefix}_DEVICE_INDEX", given)
    assert cls().device_index == expected


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("0,1,0", "device 0 is listed twice"),
        ("0,-1", "there is no device -1"),
        (",", "at least one device"),
        ("0,one", "valid integer"),
        ("0;1", "valid integer"),
    ],
)
def test_a_wrong_list_of_devices_is_refused_with_the_reason(
    given: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR_DEVICE_INDEX", given)
    with pytest.raises(ValidationError, match=why):
        AsrSettings()


@pytest.mark.parametrize(("name", "value"), [("ASR_WORKERS", "-1"), ("TTS_UTTERANCE_CACHE_MB", "-1")])
def test_a_number_below_zero_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        (AsrSettings if name.startswith("ASR") else TtsSettings)()


def test_unknown_names_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("ASR_BEEM=5\n", encoding="utf-8")
    monkeypatch.setenv("ASR_MODELL", "x")
    monkeypatch.setenv("ASR_ENGINE_OPTIONS__BEAM_SIZE", "3")
    assert unknown_names(AsrSettings, "ASR_") == ["ASR_BEEM", "ASR_MODELL"]


def test_unknown_names_are_reported_of_every_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASR_MODELL", "DIARIZATION_MODELL", "DIARIZATION_ENGINE_OPTIONS__STEP", "DIARIZATION_MODEL"):
        monkeypatch.setenv(name, "x")
    assert unknown_names(AsrSettings, "ASR_", "DIARIZATION_") == ["ASR_MODELL", "DIARIZATION_MODELL"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DIARIZATION_DEVICE", "gpu"),
        ("DIARIZATION_THREADS", "-1"),
        ("DIARIZATION_IDLE_UNLOAD", "-2"),
        ("VOICEPRINTS", "maybe"),
    ],
)
def test_a_wrong_value_of_a_diarization_setting_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        AsrSettings()


def test_voiceprints_are_off_and_diarization_is_not_loaded_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = AsrSettings()
    assert (settings.voiceprints, settings.diarization_preload) == (False, False)
    assert (settings.diarization_model, settings.diarization_engine) == ("diarization-community1", "community1")
    monkeypatch.setenv("DIARIZATION_ENGINE_OPTIONS__STEP", "2")
    assert AsrSettings().diarization_engine_options == {"step": "2"}


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        AsrSettings().model = "other"  # type: ignore[misc]


def test_places_follow_our_name_then_systemd_then_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOICE_STACK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert Places().cache == Path("/xdg/voice-stack")
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/voice-stack")
    assert Places().cache == Path("/var/cache/voice-stack")
    monkeypatch.setenv("VOICE_STACK_CACHE", "/ours")
    assert Places().cache == Path("/ours")
