"""CONTRACT_ENGINE=NAME leaves the cases of one engine alone: `make engines` runs them where its extra is installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = os.environ.get("CONTRACT_ENGINE")
    if not wanted:
        return
    kept, dropped = [], []
    for item in items:
        case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
        (kept if HERE not in item.path.parents or getattr(case, "name", None) == wanted else dropped).append(item)
    for item in kept:
        # What the libraries warn of in an environment of their own is not ours to fail on.
        item.add_marker(pytest.mark.filterwarnings("default"))
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept
