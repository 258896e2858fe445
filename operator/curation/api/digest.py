"""The template digest: what decides whether a spec asks for a new run."""

import hashlib
import json
from typing import Any, Final

import rfc8785
from pydantic import JsonValue

from curation.api.executor import Executor
from curation.api.job import JobSpec
from curation.api.references import Frozen
from curation.api.schema import JsonObject

_DEFAULT_EXECUTOR: Final = Executor()
MAX_DEPTH: Final = 64
"""Levels of a JSON document that we keep. Parsers give up at a few hundred, and a job whose status nobody can parse
could never be deleted."""


def depth(value: object) -> int:
    """Levels of nesting of a JSON document: 0 for a scalar. Not recursive: Go's decoder admits 10,000 levels."""
    level, at = 0, [value] if isinstance(value, dict | list) else []
    while at:
        level += 1
        at = [
            child
            for item in at
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
    return level


def without_nulls(value: JsonValue) -> JsonValue:
    """The document without its nulls in objects: a merge patch drops them, so they must not count before it."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def json_size(value: JsonValue) -> int:
    """Bytes of the document as compact JSON, which is how it is stored and how its limits are meant."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def input_digest(value: JsonObject) -> str:
    """``sha256:`` and the digest of a job's input in RFC 8785 form, without its nulls. Raises ValueError as below."""
    return f"sha256:{hashlib.sha256(rfc8785.dumps(without_nulls(value))).hexdigest()}"


def template_digest(spec: JobSpec, frozen: Frozen | None = None) -> str:
    """``v1:`` and the sha256 over the RFC 8785 form of the template fields, those at their default left out.

    A release that adds a defaulted template field therefore changes no digest: the API server shows the default in
    old objects at an unchanged generation. What a reference names counts as `frozen` has it, and not before: a later
    change of a ConfigMap is none of the template. Raises ValueError for numbers outside RFC 8785 (not I-JSON).
    """
    template: dict[str, Any] = {"moduleRef": spec.module_ref.to_wire()}
    document = without_nulls(spec.input)
    if document:
        template["input"] = document
    if spec.config:
        template["config"] = spec.config
    if spec.input_from is not None:
        read = frozen.input if frozen is not None else None
        template["inputFrom"] = [spec.input_from.to_wire(), without_nulls(read)]
    if spec.config_from is not None:
        template["configFrom"] = [spec.config_from.to_wire(), frozen.config if frozen is not None else None]
    if spec.executor != _DEFAULT_EXECUTOR:
        template["executor"] = spec.executor.to_wire()
    if spec.rerun:
        template["rerun"] = spec.rerun
    return f"v1:{hashlib.sha256(rfc8785.dumps(template)).hexdigest()}"
