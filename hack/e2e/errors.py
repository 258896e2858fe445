"""What can go wrong before a test runs."""


class TargetError(Exception):
    """There is no cluster to test on; the message says why, and what to give."""
