"""The shipped schema as Cedar has it, parsed once."""

from functools import cache

import cedarpy

from curation.authz.cedar_schema import SCHEMA_TEXT


@cache
def schema() -> cedarpy.Schema:
    """The parsed schema: an immutable handle, so that no decision parses the text again."""
    return cedarpy.Schema.from_str(SCHEMA_TEXT)
