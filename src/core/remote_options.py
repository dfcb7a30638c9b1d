"""How an engine reaches a server of others: its address, the key for it, deadlines, and the way there."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr, field_validator

from core import errors
from core.engines import EngineContext, EngineOptions

SYSTEM_PROXY = "environment"


class RemoteOptions(EngineOptions):
    """Options of every engine that is a client of a server."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: str = Field(description="Address of the server, http:// or https://.")
    api_key: SecretStr | None = Field(default=None, description="Key for the server.")
    api_key_env: str | None = Field(
        default=None, description="Environment variable that holds the key, where `api_key` is not set."
    )
    connect_timeout: float = Field(default=5.0, gt=0, le=60, description="Seconds to connect in.")
    read_timeout: float = Field(default=90.0, gt=0, le=600, description="Seconds the server may be silent.")
    timeout: float = Field(default=300.0, gt=0, le=3600, description="Seconds that one answer may take in all.")
    concurrency: int = Field(default=4, ge=1, le=64, description="Requests the server gets at the same time.")
    proxy: SecretStr | None = Field(
        default=None, description="Address of a proxy, or `environment` for HTTP(S)_PROXY; unset uses none."
    )
    ca_file: Path | None = Field(default=None, description="Certificates (PEM) to trust instead of the usual ones.")

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value.strip())
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("an address that begins with http:// or https:// is needed")
        if parts.username or parts.password:
            raise ValueError("the address must not hold a name or password; `api_key` is for keys")
        if parts.query or parts.fragment:
            raise ValueError("the address must end with its path")
        return value.strip().rstrip("/")

    @property
    def host(self) -> str:
        """The host of the address."""
        return urlsplit(self.url).hostname or ""

    def key(self, *, vendor: str = "", variable: str = "") -> str | None:
        """Return the key, None where there is none.

        The vendor's usual `variable` counts only for the vendor's own host: it is not for any other server to see.
        Raises ModelBroken for a variable that is not set or a key that no header can carry: as for a wrong key, the
        service stays up, and models that stand in for this one answer.
        """
        if self.api_key is not None:
            found = self.api_key.get_secret_value()
        else:
            name = self.api_key_env or (variable if self.host == vendor else "")
            found = os.environ.get(name, "") if name else ""
            if self.api_key_env and not found:
                raise errors.ModelBroken(f"the environment variable {name} for the key is not set")
        found = found.strip()
        if not (found.isascii() and found.isprintable()):
            raise errors.ModelBroken("the API key holds characters that no key has")
        return found or None


def model_name(context: EngineContext, option: str | None, default: str) -> str:
    """Return the server's name for the model: the option, else what is behind the slash of ENGINE/MODEL."""
    return option or context.model_id.partition("/")[2] or default
