"""Merge patches (RFC 7396): the difference of two JSON documents, and what one makes of a document."""

from typing import Any

Json = Any


def merge_patch(old: dict[str, Json], new: dict[str, Json]) -> dict[str, Json] | None:
    """The patch that makes ``new`` of ``old``; None when they are the same.

    Neither may hold a null: a merge patch cannot say one. A null in the patch always removes something that was there.
    Lists are replaced whole.
    """
    patch: dict[str, Json] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(old[key], dict):
            nested = merge_patch(old[key], value)
            if nested is not None:
                patch[key] = nested
        elif not same(old[key], value):
            patch[key] = value
    return patch or None


def merged(target: Json, patch: Json) -> Json:
    """The document with the patch applied, as the API server would (RFC 7396, section 2). Neither is changed."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def same(one: Json, other: Json) -> bool:
    """Whether two JSON values are the same. Trap: to Python ``True == 1``, to JSON it is another value."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)
