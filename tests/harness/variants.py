"""The variants of a test of a face: where attempt 1 is slow, how many of its runs are stale, how many jobs.

A test marked `variants(point, ...)` takes `point`, `stale` and `jobs`. Run are all its points with one stale run and
with three, for one job, and one variant with fifty jobs; with `--all-variants` all of them with fifty jobs too.
A module whose tests want another number than fifty says so: `MANY_JOBS = 8`.
"""

import itertools

import pytest

STALE = (1, 3)
MANY = 50


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--all-variants`."""
    parser.addoption("--all-variants", action="store_true", help="run the faces in all variants with 50 jobs too")


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line("markers", "variants(*points): a face, tested in variants; see tests/harness/variants.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each variant."""
    marker = metafunc.definition.get_closest_marker("variants")
    if marker is None:
        return
    points = marker.args
    many = getattr(metafunc.module, "MANY_JOBS", MANY)
    chosen = [(point, stale, 1) for point, stale in itertools.product(points, STALE)]
    if metafunc.config.getoption("--all-variants"):
        chosen += [(point, stale, many) for point, stale in itertools.product(points, STALE)]
    else:
        chosen.append((points[-1], 1, many))
    ids = [f"{point}-{stale}-stale-{jobs}-job" for point, stale, jobs in chosen]
    metafunc.parametrize(("point", "stale", "jobs"), chosen, ids=ids)
