"""Why an object is known in part only: what was written is over its bound, and was never parsed."""

from typing import Final

from curation.api.schema import Model

EXCESS_FIELD: Final = "curation.dev/excess"
"""Where the kept form of an object says it. The API server prunes fields that no schema has, so no user can."""


class Excess(Model):
    """What was left out of an object on its way in. It is read without it, unlike one with a `reading.Fault`."""

    field: str
    """The field that is left out, such as ``spec.input``."""
    message: str
    """One sentence that names the field and the remedy."""
    digest: str = ""
    """sha256 of what is left out, so that another text of it is seen as a change."""


def too_large(field: str, size: int, allowed: int, remedy: str) -> str:
    """The sentence about a field over its bound, sizes in bytes."""
    return f"{field} is {size} bytes, more than the {allowed} allowed; {remedy}"


def too_deep(field: str, allowed: int) -> str:
    """The sentence about a field that is nested too deep."""
    return f"{field} is nested deeper than {allowed} levels; give the module deep data as a string"


INPUT_REMEDY: Final = "keep large data elsewhere and give the module a reference to it"
