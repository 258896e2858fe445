"""What an approval records of its module's Cancel requests: the object's own, the builtin's, or nothing."""

import pytest

from curation.api.module import ModuleSpec
from curation.wasm.declared import declared_cancel
from curation.wasm.module_bytes import builtin_names

_SHIPPED = "build-session-message-v1"
_DIGEST = "sha256:" + "0" * 64
_STOP = {"method": "POST", "path": "/stop"}


@pytest.mark.parametrize(
    ("spec", "paths"),
    [
        ({"source": {"builtin": _SHIPPED}, "cancel": [_STOP]}, ["/stop"]),
        ({"source": {"builtin": _SHIPPED}, "cancel": []}, []),
        ({"source": {"configMap": {"name": "c", "key": "k"}}, "digest": _DIGEST, "cancel": [_STOP]}, ["/stop"]),
        ({"source": {"configMap": {"name": "c", "key": "k"}}, "digest": _DIGEST}, None),
        ({"source": {"builtin": "none-of-ours"}}, None),
    ],
)
def test_the_objects_own_declaration_counts_first(spec: object, paths: list[str] | None) -> None:
    declared = declared_cancel(ModuleSpec.model_validate(spec))
    assert (None if declared is None else [each.path for each in declared]) == paths


@pytest.mark.parametrize("name", builtin_names())
def test_every_module_that_is_shipped_declares_its_own(name: str) -> None:
    assert declared_cancel(ModuleSpec.model_validate({"source": {"builtin": name}}))
