"""Benchmarks on a real local control plane: `make bench` runs them all through `python -m bench`.

They report what a release costs and, with `--check`, fail when a ratio has left the range it was last seen in.
"""
