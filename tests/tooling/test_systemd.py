"""The systemd units and the scripts that install them, as far as that can be told without a running systemd."""

from __future__ import annotations

import configparser
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
SERVICES = ["asr", "tts"]
ANALYZE = shutil.which("systemd-analyze") or ""
# systemd-analyze's exposure times ten: 1.1 was measured for the unit alone, 1.5 with a GPU and a LAN.
LIMIT = {"": 12, "nvidia.conf lan.conf": 16, "rocm.conf lan.conf": 16}


def script(name: str, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPTS / name), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


class Unit(configparser.RawConfigParser):
    """A unit file; names keep their case and may come more than once (the last one counts here)."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, delimiters=("=",), comment_prefixes=("#",), interpolation=None)
        self.optionxform = str  # type: ignore[assignment,method-assign]
        self.read(path, encoding="utf-8")


@pytest.fixture
def staged(
    tmp_path: Path, fresh_venv: Callable[[Path], Path], plain_environ: dict[str, str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs one of the scripts with everything below a folder of its own."""
    fresh_venv(tmp_path / "opt" / "voice-stack" / "venv")

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = script(name, *arguments, "--stage", str(tmp_path), env=plain_environ)
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.mark.parametrize("service", SERVICES)
def test_the_unit_runs_our_command_and_outlives_a_crash(service: str) -> None:
    unit = Unit(SCRIPTS / "systemd" / f"voice-stack-{service}.service")["Service"]
    assert unit["ExecStart"] == f"@VENV@/bin/voice-stack serve {service}"
    assert unit["EnvironmentFile"] == "-@CONFIG@/voice-stack.env"
    assert (unit["Restart"], unit["TimeoutStopSec"]) == ("on-failure", "45")
    assert unit["CacheDirectory"] == "voice-stack"
    assert unit["StateDirectory"].split()[0] == "voice-stack"


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("drop_ins", LIMIT)
def test_the_unit_is_hardened(service: str, drop_ins: str, tmp_path: Path) -> None:
    name = f"voice-stack-{service}.service"
    text = (SCRIPTS / "systemd" / name).read_text(encoding="utf-8")
    for mark, value in {"VENV": "/opt/venv", "USER": "voice", "GROUP": "voice", "CONFIG": "/etc/voice-stack"}.items():
        text = text.replace(f"@{mark}@", value)
    (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / f"{name}.d").mkdir()
    for drop_in in drop_ins.split():
        shutil.copy(SCRIPTS / "systemd" / drop_in, tmp_path / f"{name}.d")
    command = [ANALYZE, "security", "--offline=true", "--no-pager", f"--threshold={LIMIT[drop_ins]}"]
    done = subprocess.run([*command, str(tmp_path / name)], capture_output=True, text=True, check=False)
    if "--offline" in done.stderr:
        pytest.skip("this systemd-analyze cannot read units offline")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@pytest.mark.parametrize("action", ["install", "update"])
@pytest.mark.parametrize("service", SERVICES)
def test_a_dry_run_changes_nothing_and_shows_the_commands(action: str, service: str, tmp_path: Path) -> None:
    done = script(f"{action}-{service}.sh", "--dry-run", "--prefix", str(tmp_path / "x"), "--gpu", "nvidia", "--lan")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    assert f"+ write /etc/systemd/system/voice-stack-{service}.service" in done.stdout
    assert f"{tmp_path}/x/venv/bin/python -m pip install" in done.stdout
    assert "voice-stack-" + service + ".service.d/nvidia.conf" in done.stdout
    if action == "install":  # the account may not be able to read the caller's folder
        assert "+ runuser -u voice-stack -- env -C / " in done.stdout
    started = f"+ systemctl restart voice-stack-{service}.service"
    assert done.stdout.index("+ systemctl daemon-reload") < done.stdout.index(started)


def test_system_packages_dry_run() -> None:
    done = script("install_system_deps.sh", "--dry-run")
    if shutil.which("apt-get") is None:
        pytest.skip("apt-get is not installed")
    assert done.returncode == 0
    assert "+ apt-get install --yes --no-install-recommends python3 python3-venv" in done.stdout


def test_wrong_options_are_refused() -> None:
    for arguments in (["--nonsense"], ["--gpu", "tpu", "--dry-run"], ["--prefix"]):
        assert script("install-asr.sh", *arguments).returncode == 1
    assert script("uninstall.sh", "everything").returncode == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may install")
def test_installing_needs_root() -> None:
    assert "sudo" in script("install-asr.sh").stderr


@pytest.mark.e2e
def test_install_twice_update_and_remove(
    tmp_path: Path, staged: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    units = tmp_path / "etc" / "systemd" / "system"
    settings = tmp_path / "etc" / "voice-stack" / "voice-stack.env"
    for service in SERVICES:
        staged(f"install-{service}.sh", "--models", "", "--lan")
    venv = tmp_path / "opt" / "voice-stack" / "venv"
    assert Unit(units / "voice-stack-tts.service")["Service"]["ExecStart"] == f"{venv}/bin/voice-stack serve tts"
    assert "@" not in Unit(units / "voice-stack-asr.service")["Service"]["User"]
    assert (units / "voice-stack-asr.service.d" / "lan.conf").is_file()
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600

    settings.write_text('ASR_MODEL="small"\n')
    staged("install-asr.sh", "--models", "")
    staged("update-asr.sh")
    assert settings.read_text() == 'ASR_MODEL="small"\n'

    staged("uninstall.sh", "tts")
    assert sorted(path.name for path in units.iterdir()) == ["voice-stack-asr.service", "voice-stack-asr.service.d"]
    staged("uninstall.sh", "asr", "--purge")
    assert not settings.exists()
    assert not venv.exists()


@pytest.mark.e2e
def test_purging_one_service_keeps_what_the_other_uses(
    tmp_path: Path, staged: Callable[..., subprocess.CompletedProcess[str]], plain_environ: dict[str, str]
) -> None:
    for service in SERVICES:
        staged(f"install-{service}.sh", "--models", "")
    done = script("uninstall.sh", "tts", "--purge", "--stage", str(tmp_path), env=plain_environ)
    assert done.returncode == 1
    assert "voice-stack-asr.service uses them" in done.stderr
    assert (tmp_path / "opt" / "voice-stack" / "venv" / "bin" / "voice-stack").exists()


@pytest.mark.e2e
def test_purging_all_takes_both_units_and_the_environment_they_name(
    tmp_path: Path, fresh_venv: Callable[[Path], Path], staged: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    venv = fresh_venv(tmp_path / "srv" / "voice" / "venv")
    for service in SERVICES:
        staged(f"install-{service}.sh", "--models", "", "--prefix", "/srv/voice")
    staged("uninstall.sh", "all", "--purge")
    assert list((tmp_path / "etc" / "systemd" / "system").iterdir()) == []
    assert not venv.exists()
    for folder in ("etc/voice-stack", "var/lib/voice-stack", "var/cache/voice-stack"):
        assert not (tmp_path / folder).exists()


def test_purging_removes_no_folder_that_is_not_an_environment(tmp_path: Path) -> None:
    unit = tmp_path / "etc" / "systemd" / "system" / "voice-stack-asr.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(f"[Service]\nUser=voice\nExecStart={tmp_path}/usr/bin/voice-stack serve asr\n")
    program = tmp_path / "usr" / "bin" / "voice-stack"
    program.parent.mkdir(parents=True)
    program.touch()
    done = script("uninstall.sh", "--purge", "--stage", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert not unit.exists()
    assert program.exists()


@pytest.mark.e2e
def test_the_checkouts_env_file_becomes_the_settings(
    tmp_path: Path, fresh_venv: Callable[[Path], Path], plain_environ: dict[str, str]
) -> None:
    checkout, stage = tmp_path / "checkout", tmp_path / "stage"
    for name in ("src", "scripts"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", ".env.example"):
        shutil.copy(ROOT / name, checkout)
    (checkout / ".env").write_text('ASR_MODEL="base"   # Whisper model\nPROJECT_NAME=\'My "own" API\'\nAPI_KEYS=a,b\n')
    fresh_venv(stage / "opt" / "voice-stack" / "venv")
    command = [str(checkout / "scripts" / "install-asr.sh"), "--stage", str(stage), "--models", ""]
    subprocess.run(command, env=plain_environ, check=True, capture_output=True)
    assert (stage / "etc" / "voice-stack" / "voice-stack.env").read_text().splitlines() == [
        'ASR_MODEL="base"',
        'PROJECT_NAME="My \\"own\\" API"',
        'API_KEYS="a,b"',
    ]
