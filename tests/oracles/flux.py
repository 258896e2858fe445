"""The rules that Flux checks of an object's conditions (fluxcd/pkg runtime/conditions/check), for our kinds.

Ready always there once a status was written, and of its generation where True; no type twice; Reconciling and Stalled
never both True; no observedGeneration above the generation.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.oracles.versions import describe

Document = dict[str, Any]


def check_conditions(versions: Iterable[Document]) -> None:
    """Raise AssertionError with the offending version."""
    for obj in versions:
        problem = _problem(obj)
        if problem:
            raise AssertionError(f"{problem}: {describe(obj)}")


def _problem(obj: Document) -> str | None:
    status = obj.get("status") or {}
    generation = obj["metadata"]["generation"]
    if status.get("observedGeneration", -1) > generation:
        return f"observedGeneration {status['observedGeneration']} is above the generation {generation}"
    # -1 is what the CRDs default to, and nobody writes.
    if status.get("observedGeneration", -1) == -1:
        return None
    conditions = status.get("conditions") or []
    twice = [kind for kind, count in Counter(condition["type"] for condition in conditions).items() if count > 1]
    if twice:
        return f"conditions {twice} are there twice"
    values = {condition["type"]: condition["status"] for condition in conditions}
    if "Ready" not in values:
        return "there is no Ready condition"
    if values.get("Reconciling") == "True" and values.get("Stalled") == "True":
        return "Reconciling and Stalled are both True"
    if values["Ready"] == "True" and "True" in (values.get("Reconciling"), values.get("Stalled")):
        return "Ready is True together with Reconciling or Stalled"
    for condition in conditions:
        observed = condition.get("observedGeneration")
        if observed is None:
            return f"condition {condition['type']} has no observedGeneration"
        if observed > status.get("observedGeneration", -1):
            return f"condition {condition['type']} is of generation {observed}, which the status has not observed"
        if (condition["type"], condition["status"]) == ("Ready", "True") and observed != status["observedGeneration"]:
            return f"Ready is True of generation {observed}, and the status is of {status['observedGeneration']}"
    return None
