"""pydantic's JSON Schema (2020-12) rewritten as the structural OpenAPI v3 schema that a CRD takes.

Called by `curation.api.crd` only. A keyword that has no place in a structural schema is an error here, at generation,
and never silently lost: the API server would otherwise let through what the model refuses.
"""

from collections.abc import Mapping
from typing import Any

from curation.api.schema import PATTERN_MESSAGE, Model, cel

Schema = dict[str, Any]

_KEPT = frozenset(
    {"description", "type", "format", "enum", "default", "properties", "required", "additionalProperties", "items"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern"}
    | {"minItems", "maxItems", "minProperties", "maxProperties"}
)
_VALIDATIONS = "x-kubernetes-validations"
_INT32_MAX = 2**31 - 1


def structural_schema(model: type[Model], *, defaults: bool) -> Schema:
    """The structural schema of a model: references inlined, `X | None` optional, no titles, a rule for each message.

    ``defaults``: whether the server fills in the models' defaults. Spec: yes. Status: no, since it would show in each
    object as something that the operator had said.
    """
    document = model.model_json_schema(by_alias=True, mode="validation")
    definitions: Mapping[str, Schema] = document.pop("$defs", {})
    return _Converter(definitions, defaults).convert(document, model.__name__)


class _Converter:
    def __init__(self, definitions: Mapping[str, Schema], defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def convert(self, schema: Schema, where: str) -> Schema:
        node = self._resolved(schema, where)
        out = {key: value for key, value in node.items() if key in _KEPT or key.startswith("x-kubernetes-")}
        if unknown := node.keys() - out.keys() - {"title", "const", PATTERN_MESSAGE}:
            raise ValueError(f"{where}: a structural schema has no {', '.join(sorted(unknown))}; change the model")
        if "const" in node:
            out["enum"] = [node["const"]]
        self._number(out)
        self._pattern(out, node.get(PATTERN_MESSAGE))
        self._children(out, where)
        self._default(out, where)
        if "type" not in out and "x-kubernetes-preserve-unknown-fields" not in out:
            raise ValueError(f"{where}: no type; a structural schema needs one at every level")
        return out

    def _resolved(self, schema: Schema, where: str) -> Schema:
        """The node with its reference and its `| None` replaced by what they mean; what is beside them wins."""
        node = dict(schema)
        if "anyOf" in node:
            options = [option for option in node.pop("anyOf") if option != {"type": "null"}]
            if len(options) != 1:
                raise ValueError(f"{where}: a union of several types is not structural; change the model")
            return self._merged(self._resolved(options[0], where), node)
        if "$ref" in node:
            target = self._definitions[node.pop("$ref").rpartition("/")[2]]
            return self._merged(self._resolved(target, where), node)
        return node

    @staticmethod
    def _merged(inner: Schema, outer: Schema) -> Schema:
        rules = [*inner.get(_VALIDATIONS, ()), *outer.get(_VALIDATIONS, ())]
        return {**inner, **outer, **({_VALIDATIONS: rules} if rules else {})}

    @staticmethod
    def _number(out: Schema) -> None:
        for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
            if exclusive in out:  # OpenAPI v3.0: a flag beside the bound
                out[bound], out[exclusive] = out[exclusive], True
        if out.get("type") == "integer":
            out["format"] = "int32" if out.get("maximum", _INT32_MAX + 1) <= _INT32_MAX else "int64"

    @staticmethod
    def _pattern(out: Schema, message: str | None) -> None:
        """A pattern with a message becomes a rule: the server's own words for a pattern show only the expression."""
        if message is None:
            return
        pattern = out.pop("pattern")
        if "'" in pattern:
            raise ValueError(f"pattern {pattern!r}: an apostrophe would end the CEL string")
        # An empty value is left to minLength, and an absent one to `required`.
        out[_VALIDATIONS] = [cel(f"self.matches(r'{pattern}')", message), *out.get(_VALIDATIONS, ())]

    def _children(self, out: Schema, where: str) -> None:
        if out.get("x-kubernetes-preserve-unknown-fields"):
            out.pop("additionalProperties", None)  # any JSON value: nothing to say about it
        if "properties" in out:
            out["properties"] = {
                name: self.convert(child, f"{where}.{name}") for name, child in out["properties"].items()
            }
        for key in ("items", "additionalProperties"):
            if isinstance(out.get(key), dict):
                out[key] = self.convert(out[key], f"{where}.{key}")
            elif key in out:
                raise ValueError(f"{where}: {key} must be a schema; change the model")

    def _default(self, out: Schema, where: str) -> None:
        if out.get("default") is None or not self._defaults:
            out.pop("default", None)
        elif "properties" in out:
            # Empty, and filled in by the defaults of its fields: each default is written once.
            if out.get("required"):
                raise ValueError(f"{where}: an object with required fields cannot have a default; change the model")
            out["default"] = {}
