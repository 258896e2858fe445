"""A document that somebody wrote for a command, as a model, or each of its mistakes with the field and the remedy."""

import difflib
import typing
from collections.abc import Iterator
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from curation.api.clipping import clip
from curation.cli.policy_files import documents_of

M = TypeVar("M", bound=BaseModel)

MAX_PROBLEMS = 20
"""Of one document that are listed."""
_MAX_SHOWN = 80
_MAX_PATH = 200


class Mistakes(Exception):
    """What is wrong with a document: one sentence for each mistake, which begins with the field."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def loaded(file: str, text: str) -> list[Any]:
    """The documents of a YAML or JSON file, empty ones left out. Raises `Mistakes`."""
    try:
        return [document for document in documents_of(file, text) if document is not None]
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        # YAML keeps @ for itself, and policies are named by @id.
        hint = '; put quotes around a text that begins with @, as in "@id"' if "'@'" in str(error) else ""
        what = (
            "it is nested too deeply"
            if isinstance(error, RecursionError)
            else " ".join(str(error).split()).replace('in "<unicode string>", line', "at line")
        )
        raise Mistakes(
            [f"it is no valid {'JSON' if file.lower().endswith('.json') else 'YAML'}: {what}{hint}"]
        ) from None


def parsed(model: type[M], document: Any) -> M:
    """The document as a model. Raises `Mistakes`."""
    try:
        return model.model_validate(document)
    except RecursionError:
        raise Mistakes(["it is nested too deeply"]) from None
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        listed = [
            _mistake(model, each["loc"], each["type"], each["msg"], each["input"]) for each in problems[:MAX_PROBLEMS]
        ]
        if len(problems) > MAX_PROBLEMS:
            listed.append(f"and {len(problems) - MAX_PROBLEMS} mistakes more")
        raise Mistakes(list(dict.fromkeys(listed))) from None


def path_of(loc: tuple[int | str, ...]) -> str:
    """``cases[2].request.url``."""
    out = ""
    for part in loc:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return clip(out, _MAX_PATH)


def _mistake(model: type[BaseModel], loc: tuple[int | str, ...], kind: str, message: str, given: Any) -> str:
    known = _names(model, loc[:-1])
    if kind == "extra_forbidden":
        name = str(loc[-1])
        close = difflib.get_close_matches(name, known, 1)
        remedy = f"did you mean {close[0]}?" if close else f"its fields are {', '.join(sorted(known))}"
        return f"{path_of(loc)}: there is no such field; {remedy}"
    if kind in ("model_type", "dict_type"):
        fields = _names(model, loc)
        what = f"it must be a mapping with the fields {', '.join(sorted(fields))}" if fields else "it must be a mapping"
        return f"{path_of(loc)}: {what}" if loc else what
    if kind == "missing":
        return f"{path_of(loc)}: it is missing; give it"
    said = message.removeprefix("Value error, ")
    shown = (
        "" if isinstance(given, dict | list) or kind == "value_error" else f" (it is {clip(repr(given), _MAX_SHOWN)})"
    )
    where = f"{path_of(loc)}: " if loc else ""
    return f"{where}{said[:1].lower()}{said[1:]}{shown}"


def _names(model: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    """The fields, as they are written, of the part of a model that a location leads to; empty if it has none."""
    at: Any = model
    for part in loc:
        if isinstance(part, str):
            fields = _fields(at)
            if part not in fields:
                return set()
            at = fields[part]
        at = next(_models(at), None)
    return set(_fields(at))


def _fields(model: Any) -> dict[str, Any]:
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return {}
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models(inner)
