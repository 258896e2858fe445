"""Text that must not be longer than a field, or a line, may be."""


def clip(text: str, limit: int, mark: str = "…") -> str:
    """The text, cut to `limit` characters; then it ends with the mark."""
    return text if len(text) <= limit else text[: limit - len(mark)] + mark
