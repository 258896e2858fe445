"""What can go wrong in a build."""


class BuildError(Exception):
    """The build failed, or its result may not be shipped; the message says which and what to do."""


class CratesUnavailable(BuildError):
    """The crates that the module is built from could not be fetched."""
