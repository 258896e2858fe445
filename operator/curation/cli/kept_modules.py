"""Where the commands keep what they have compiled: a module of Python takes most of a minute, each time."""

from importlib.metadata import version
from pathlib import Path

from curation.building.build_cache import cache_folder
from curation.wasm.artifacts import ArtifactDir, CacheDirError


def kept_modules() -> Path | None:
    """A folder for `ModuleStore`; None where this user has no place for one.

    A refusal is not kept: it is quick to find again, and another version of this program may not refuse.
    """
    try:
        folder = cache_folder() / f"compiled-{version('curation-operator')}"
        ArtifactDir(folder)
    except (CacheDirError, RuntimeError):  # the latter: a user without a home
        return None
    for refusal in folder.glob("*.refused"):
        refusal.unlink(missing_ok=True)
    return folder
