"""The rights that a guest host gives up once it has begun: what its kernel has of them. Nothing rests on them alone."""

import logging
import os
from pathlib import Path

import wasmtime

import curation
from curation.isolation import landlock, seccomp


def confine() -> bool:
    """Give them up, while there is one thread. Whether files are closed to this process."""
    # What Python imports when it is needed for the first time is code, and nobody's secret.
    code = [Path(module.__file__).parent for module in (os, curation, wasmtime, logging) if module.__file__]
    files = landlock.confine(code)
    seccomp.confine()
    return files
