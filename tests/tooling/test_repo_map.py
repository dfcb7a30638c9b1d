"""scripts/build_repo_map.py writes an index that names what is in the source."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build(*arguments: str) -> str:
    command = [sys.executable, str(ROOT / "scripts" / "build_repo_map.py"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_it_describes_modules_classes_and_methods(tmp_path: Path) -> None:
    package = tmp_path / "src" / "shop"
    package.mkdir(parents=True)
    (package / "till.py").write_text(
        '"""Money in.\n\nMore."""\nfrom shop.tax import rate\nimport os\n\n'
        'class Till(Box):\n    """Counts."""\n    async def pay(self, sum: int = 1) -> bool:\n        """Take it."""\n'
    )
    output = tmp_path / "map.json"
    build("--source", str(tmp_path / "src"), "--output", str(output))
    (module,) = json.loads(output.read_text())["modules"]
    assert (module["path"], module["name"], module["summary"]) == ("src/shop/till.py", "shop.till", "Money in.")
    assert module["imports"] == ["shop.tax"]
    (till,) = module["symbols"]
    assert (till["signature"], till["summary"]) == ("Till(Box)", "Counts.")
    (pay,) = till["members"]
    assert pay["signature"] == "pay(self, sum: int=1) -> bool"
    assert (pay["kind"], pay["line"]) == ("async function", 9)


def test_it_reads_this_repository(tmp_path: Path) -> None:
    output = tmp_path / "map.json"
    assert "modules" in build("--output", str(output))
    names = {module["name"] for module in json.loads(output.read_text())["modules"]}
    assert {"voice_stack", "core.errors", "asr.engine", "tts.engine", "utils.audio.pcm"} <= names
