"""Why a module cannot be used. Raised by whatever loads one; shown in its status and in the message of a run."""

from enum import StrEnum


class ModuleReason(StrEnum):
    """Reasons of a CurationModule's Ready condition."""

    COMPILED = "Compiled"
    DIGEST_MISMATCH = "DigestMismatch"
    ABI_MISMATCH = "AbiMismatch"
    TOO_LARGE = "TooLarge"
    NOT_FOUND = "NotFound"
    UNKNOWN_BUILTIN = "UnknownBuiltin"
    INVALID = "Invalid"
    PULL_FAILED = "PullFailed"
    UNAUTHORIZED = "Unauthorized"
    NOT_SIGNED = "NotSigned"

    @property
    def may_pass(self) -> bool:
        """Whether another source can help, and not only another spec: it may be applied a moment later."""
        return self in _MAY_PASS


_MAY_PASS = frozenset(
    {
        ModuleReason.NOT_FOUND,
        ModuleReason.DIGEST_MISMATCH,
        ModuleReason.PULL_FAILED,
        ModuleReason.UNAUTHORIZED,
        ModuleReason.NOT_SIGNED,
    }
)


class ModuleLoadError(Exception):
    """A module that cannot be used: the reason of its Ready condition, and what is wrong and what helps."""

    def __init__(self, reason: ModuleReason, message: str, *, may_pass: bool | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.may_pass = reason.may_pass if may_pass is None else may_pass
        """Whether another spec is not the only thing that can help; by default as the reason says."""


class ModuleUnreadable(Exception):
    """What a run needs of a module cannot be read now: that says nothing about the module, and another try may do."""
