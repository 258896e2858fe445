"""The Cedar schema that the product ships, as text, and its names."""

from importlib.resources import files
from typing import Final

SCHEMA_TEXT: Final = files(__package__).joinpath("curation.cedarschema").read_text(encoding="utf-8")
"""The schema in Cedar's own syntax; `docs/cedar/` has a copy, and `curation-operator schemas` prints it."""

AGENT: Final = "Agent"
ENDPOINT: Final = "HttpEndpoint"
LABELS: Final = "Labels"
ACTION: Final = "Action"
HTTP_CALL_ACTION: Final = "http_call"
