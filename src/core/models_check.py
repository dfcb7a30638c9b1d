"""What can be told at start of models.toml: engines there are not, wrong options, weights that are not there."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import ValidationError

from core import model_options
from core.catalogue import Catalogue
from core.errors import ConfigurationError
from core.model_entry import ModelRef, Task
from core.registry import EngineRegistry

log = logging.getLogger(__name__)


def check(catalogue: Catalogue, task: Task, registry: EngineRegistry[Any]) -> None:
    """Raise ConfigurationError, with the line, for an unknown engine or a wrong option of a model of the task."""
    for model in catalogue.own(task):
        if model.engine not in registry.names():
            where, known = catalogue.where(model.id, "engine"), ", ".join(registry.names())
            raise ConfigurationError(f"{where}: unknown engine {model.engine!r}; there are: {known}")
        _check_options(catalogue, model, registry)


def warn_of_paths(catalogue: Catalogue, task: Task) -> None:
    """Tell the log of models of the operator's own whose weights are not there; they may come later."""
    for model in catalogue.own(task):
        if not model.installed and model.owned_by == "user":
            where = catalogue.where(model.id, "path")
            log.warning("%s: there is nothing at the path of %s, which cannot be used", where, model.id)


def _check_options(catalogue: Catalogue, model: ModelRef, registry: EngineRegistry[Any]) -> None:
    try:
        options = registry.get(model.engine).Options
    except ConfigurationError:
        return  # a plug-in that cannot be imported is told of when it is asked for
    try:
        options.model_validate(dict(model.options))
    except ValidationError as error:
        for one in error.errors(include_url=False, include_input=False):
            name = str(one["loc"][0]) if one["loc"] else ""
            # What is missing may come from the settings, and so may what an option has to agree with.
            if name not in model.options or one["type"] == "missing":
                continue
            text = model_options.complaint(one, model.engine, options.model_fields)
            raise ConfigurationError(f"{catalogue.where(model.id, 'options', name)}: {text}") from error
