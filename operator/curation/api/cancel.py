"""The requests by which a module cancels what it has started, as it declares them."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from curation.api.schema import Model, cel, extension, spelled

MAX_CANCEL: int = 16
MAX_WILDCARDS: int = 8
# A segment is a lone * or characters that a canonical path has without an escape: any other would never match.
_SEGMENT = r"(\*|[A-Za-z0-9._~!$&(),:@+;=-]+)"


class CancelRequest(Model):
    """A method, and the paths on an approved origin that it may be sent to under Cancel."""

    model_config: ClassVar = {
        "json_schema_extra": extension(
            cel(
                "!self.path.split('/').exists(each, each == '.' || each == '..')",
                "path must have no dot segment: write the path that it leads to",
                fieldPath=".path",
            ),
            cel(
                f"self.path.split('/').filter(each, each == '*').size() <= {MAX_WILDCARDS}",
                f"path may have at most {MAX_WILDCARDS} segments that are *",
                fieldPath=".path",
            ),
        )
    }

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    """HTTP method, upper case."""
    path: Annotated[
        str,
        Field(
            min_length=1,
            max_length=256,
            pattern=rf"^/$|^(/{_SEGMENT})+/?$",
            json_schema_extra=spelled(
                "must be a path from /, in which a segment is either * (any one segment that is not empty) or letters,"
                " digits and -._~!$&(),:@+;= alone, such as /sessions/*/cancel; it has no query and no escapes"
            ),
        ),
    ]
    """Path from /, of the origin that was approved; a segment that is * stands for any one that is not empty."""


Cancel = Annotated[
    tuple[CancelRequest, ...], Field(max_length=MAX_CANCEL, json_schema_extra=extension(list_type="atomic"))
]
