"""What an execution comes to whose module or credentials cannot be had."""

from curation.execution.seam import Unsupplied
from curation.lifecycle.outcome import Failed, FailureClass
from curation.wasm.module_errors import ModuleLoadError, ModuleReason, ModuleUnreadable


def unprepared(error: ModuleLoadError | ModuleUnreadable | Unsupplied) -> Failed:
    """The failure that it is."""
    match error:
        case ModuleLoadError():
            absent = error.reason is ModuleReason.NOT_FOUND
            return Failed(FailureClass.MODULE_UNAVAILABLE, f"{error.reason}: {error.message}", absent)
        case Unsupplied():
            return Failed(FailureClass.MODULE_UNAVAILABLE, str(error), error.absent)
        case ModuleUnreadable():
            return Failed(FailureClass.MODULE_UNAVAILABLE, str(error))
