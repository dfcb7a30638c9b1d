"""ENGINES=NAME,NAME leaves the cases of these engines alone: they are run where their extras are installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = {name.strip() for name in os.environ.get("ENGINES", "").split(",")} - {""}
    if not wanted:
        return
    kept, dropped = [], []
    for item in items:
        case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
        (kept if HERE not in item.path.parents or getattr(case, "name", None) in wanted else dropped).append(item)
    for item in kept:
        # What the libraries warn of in an environment of their own is not ours to fail on.
        item.add_marker(pytest.mark.filterwarnings("default"))
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept
