"""The Cedar schema that the product ships, parsed once."""

from functools import cache
from importlib.resources import files
from typing import Final

import cedarpy

SCHEMA_TEXT: Final = files(__package__).joinpath("curation.cedarschema").read_text(encoding="utf-8")
"""The schema in Cedar's own syntax; `docs/cedar/` has a copy, and `curation-operator schemas` prints it."""

AGENT: Final = "Agent"
ENDPOINT: Final = "HttpEndpoint"
LABELS: Final = "Labels"
ACTION: Final = "Action"
HTTP_CALL_ACTION: Final = "http_call"


@cache
def schema() -> cedarpy.Schema:
    """The parsed schema: an immutable handle, so that no decision parses the text again."""
    return cedarpy.Schema.from_str(SCHEMA_TEXT)
