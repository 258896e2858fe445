"""How an outbound request fails before there is an answer. The text of each is for people."""


class EgressError(Exception):
    """The base of this layer's errors."""


class EgressRefused(EgressError):
    """The request is malformed or its address is off limits: no policy and no approval can help.

    The message names what was refused and the remedy. Class EgressRefused, code ``invalid``.
    """


class Unavailable(EgressError):
    """No usable answer: the name does not resolve, nothing listens, TLS fails, a reset, a timeout, no HTTP."""


class ResponseTooLarge(EgressError):
    """The answer's body is larger than allowed. ``used`` is what had arrived or was announced, both in bytes."""

    def __init__(self, used: int, allowed: int) -> None:
        super().__init__(f"the response has at least {used} bytes, {allowed} are allowed (spec.limits.responseSize)")
        self.used = used
        self.allowed = allowed
        self.status: int | None = None
        """HTTP status of the answer, as far as it was read."""


class AnswerOverBounds(EgressError):
    """The answer is over a bound of the operator's own, which no field of a module raises: the service is not at fault.

    The message names the bound, what is allowed, and the remedy. Code ``limit``: asking again would give the same.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status of the answer, as far as it was read."""
