"""Refusals of the session service, as the caller sees them."""


class Refusal(Exception):
    """The request is not carried out: an HTTP status and a sentence for a person."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
