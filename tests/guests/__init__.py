"""Guests as component WAT text, hostile ones above all: what `tests/unit/wasm` and `tests/unit/execution` run."""
