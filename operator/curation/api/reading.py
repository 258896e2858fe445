"""Objects as read: a model of this release, or what is wrong with the field that it cannot read.

What is stored may be of a newer release (a field's new value, after a rollback), or of an older one that admitted what
this one does not. One such object must never stop another: whoever goes through many skips it, and says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from curation.api.schema import ResourceModel

M = TypeVar("M", bound=BaseModel)

MAX_VALUE_SHOWN: Final = 80
STATUS_REMEDY: Final = (
    "run the release that wrote it, or mend the field (kubectl edit --subresource=status), or delete the object"
)
SPEC_REMEDY: Final = "run the release that wrote it, or mend the field, or delete the object"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an object cannot be read, in words for a person."""

    field: str
    """The path of the field, such as ``status.run.submittedAt``; empty for the object as a whole."""
    problem: str
    """What is wrong with it."""
    remedy: str
    """What a person can do."""

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{where}{self.problem}; {self.remedy}"


class Unreadable(Exception):
    """An object that this release cannot read. It stays as it is until somebody changes or deletes it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault

    @property
    def field(self) -> str:
        """See `Fault.field`."""
        return self.fault.field

    @property
    def remedy(self) -> str:
        """See `Fault.remedy`."""
        return self.fault.remedy


def read(model: type[M], document: Mapping[str, Any]) -> M:
    """The object as a model. Raises `Unreadable`."""
    found, _ = mended(model, document)
    return found


def mended(model: type[M], document: Mapping[str, Any]) -> tuple[M, dict[str, Any]]:
    """The object as a model, and the fields of its status that had to be left out for that, by their names.

    Only those that follow from all else, so that the next write mends them. Raises `Unreadable`.
    """
    derived = model.derived_status if issubclass(model, ResourceModel) else frozenset[str]()
    left_out: dict[str, Any] = {}
    while True:
        try:
            return model.model_validate(document), left_out
        except ValidationError as error:
            status = document.get("status")
            paths = [problem["loc"] for problem in error.errors(include_input=False, include_url=False)]
            bad = {str(path[1]) if len(path) > 1 and path[0] == "status" else "" for path in paths}
            if not isinstance(status, dict) or not bad <= derived & status.keys():
                raise Unreadable(fault_of(error)) from None
            left_out |= {name: status[name] for name in bad}
            document = {**document, "status": {name: value for name, value in status.items() if name not in bad}}
        except RecursionError:
            raise Unreadable(Fault("", "it is nested too deeply", SPEC_REMEDY)) from None


def fault_of(error: ValidationError) -> Fault:
    """The first problem that pydantic found."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    shown = repr(first["input"])
    if len(shown) > MAX_VALUE_SHOWN or isinstance(first["input"], Mapping):
        shown = ""
    problem = first["msg"].removeprefix("Value error, ")
    return Fault(
        field,
        f"{problem[:1].lower()}{problem[1:]}" + (f" (it is {shown})" if shown else ""),
        STATUS_REMEDY if field.startswith("status") else SPEC_REMEDY,
    )
