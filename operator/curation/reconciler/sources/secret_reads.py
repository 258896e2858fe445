"""What is said of Secrets that the operator may not read, wherever one is named. Pure."""

from curation.cluster.answers import APIError


def may_not_be_read(name: str, error: APIError) -> str:
    """That the operator may not read a Secret, and what helps."""
    return f"Secret {name} cannot be read ({error.reason}); let the operator read it, see manifests/components/secrets"
