"""The credentials of a Secret of the type kubernetes.io/dockerconfigjson, and which of them an origin may be sent.

A module's author need not be one who may read the Secret that the module names. So credentials go only to the origin
that their entry names: a reference to another registry, or a registry that asks for them elsewhere, gets nothing.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curation.oci.reference import Origin

SECRET_TYPE: Final = "kubernetes.io/dockerconfigjson"  # noqa: S105 - a type
SECRET_KEY: Final = ".dockerconfigjson"  # noqa: S105 - a key
MAX_SECRET_BYTES: Final = 1 << 20
_SCHEME: Final = re.compile(r"^https?://", re.IGNORECASE)
_API: Final = frozenset({"", "v1", "v2"})
"""Paths of a registry's API, which people write behind its name: they are no part of a repository's."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    username: str = ""
    password: str = ""
    auth: str = ""
    identitytoken: str = ""


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    auths: dict[str, _Entry] = Field(max_length=256)


class BadPullSecret(ValueError):
    """What is wrong with a Secret; the text quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class _Scoped:
    origin: Origin
    path: str
    basic: str


class PullSecret:
    """The entries of one Secret."""

    def __init__(self, content: bytes) -> None:
        """Raises BadPullSecret."""
        try:
            config = _Config.model_validate_json(content)
        except ValidationError:
            raise BadPullSecret(
                f"key {SECRET_KEY} is not of the form {{auths: {{REGISTRY: {{username, password}}}}}}: make it with "
                "`kubectl create secret docker-registry`"
            ) from None
        self._entries = [_scoped(name, entry) for name, entry in config.auths.items()]

    def basic(self, origin: Origin, repository: str = "") -> str | None:
        """What follows `Basic` in the header for this origin, by its most specific entry; None if there is none."""
        fitting = [
            each
            for each in self._entries
            if each is not None
            and each.origin in origin.filed_as
            and (not each.path or not repository or f"{repository}/".startswith(f"{each.path}/"))
        ]
        return max(fitting, key=lambda each: len(each.path)).basic if fitting else None


def _scoped(name: str, entry: _Entry) -> _Scoped | None:
    place, _, path = _SCHEME.sub("", name.strip()).partition("/")
    try:
        origin = Origin.parse(place)
    except ValueError:
        return None
    path = path.strip("/")
    if entry.identitytoken and not entry.password and not entry.auth:
        return None
    if entry.username or entry.password:
        encoded = base64.b64encode(f"{entry.username}:{entry.password}".encode()).decode()
    else:
        try:
            user, colon, password = base64.b64decode(entry.auth.strip(), validate=True).partition(b":")
        except binascii.Error:
            return None
        if not colon:
            return None
        encoded = base64.b64encode(user + b":" + password).decode()
    return _Scoped(origin, "" if path in _API else path, encoded)
