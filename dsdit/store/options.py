"""Settings for the clients of object stores beside the login: encryption, storage class, who pays.

They are s3fs's own, one set a process. They never contain a login: credentials come from the environment alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SECRETS = frozenset(
    {"key", "secret", "token", "username", "password", "profile"}
    | {"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
)
_settings: dict[str, Any] = {}


def check_storage(settings: Mapping[str, Any]) -> None:
    """Raises ValueError where the settings contain a login, at any depth."""
    found = sorted(SECRETS & {name.lower() for name in _names(settings)})
    if found:
        raise ValueError(f"{', '.join(found)} is a login: it comes from the environment alone, leave it out")


def use_storage(settings: Mapping[str, Any]) -> None:
    """Sets what this process gives to the clients of object stores that it opens from now on."""
    if _settings != dict(settings):
        _settings.clear()
        _settings.update(settings)


def storage_settings() -> dict[str, Any]:
    """The settings in use."""
    return dict(_settings)


def _names(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        yield str(name)
        if isinstance(value, Mapping):
            yield from _names(value)
