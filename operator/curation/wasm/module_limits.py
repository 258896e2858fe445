"""The limits that a CurationModule's spec gives, in plain numbers."""

from curation.api.module import ModuleLimits, quantity_bytes
from curation.wasm.limits import Limits


def limits_of(given: ModuleLimits) -> Limits:
    """The limits of a module as numbers. Raises ValueError for text that is none."""
    return Limits(
        memory=quantity_bytes(given.memory),
        cpu_seconds=given.cpu_seconds,
        wall_seconds=given.wall_seconds,
        http_calls=given.http_calls,
        response_size=quantity_bytes(given.response_size),
        output_size=quantity_bytes(given.output_size),
    )
