"""Where model files come from, by `kind`; a new kind is one module here and one name in `AnySource`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.sources.hub import HubSource
from core.sources.npm import NpmSource
from core.sources.wheels import WheelSource

AnySource = Annotated[HubSource | WheelSource | NpmSource, Field(discriminator="kind")]
