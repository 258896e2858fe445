"""The environment of a carrier: by these names the operator tells it what it needs. Nothing is loaded for them."""

from typing import Final

DOOR_VARIABLE: Final = "CURATION_DOOR"
"""Of the carrier's environment: name and port of the door, host:port. All addresses of the name are tried."""
SERVER_NAME_VARIABLE: Final = "CURATION_DOOR_SERVER_NAME"
"""The name that the door's certificate is for."""
AUTHORITY_VARIABLE: Final = "CURATION_DOOR_AUTHORITY"
"""The authorities that the door's certificate may be of: PEM."""
EXECUTION_VARIABLE: Final = "CURATION_EXECUTION"
"""The id of the execution that the pod is for."""
TOKEN_FILE_VARIABLE: Final = "CURATION_TOKEN_FILE"  # noqa: S105 - the name of a variable
"""The file with the pod's token, which is read anew for each connection."""

MAX_TOKEN_BYTES: Final = 16 << 10
"""Of the token in that file."""
