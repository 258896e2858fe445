"""Builds modules: a crate of the world in `modules/wit` becomes a component, the same bytes wherever it is built.

`python -m hack.modules build` (`make modules`) writes the shipped ones into the operator's package, `build FOLDER OUT`
any other; `check` (CI) says whether the shipped ones are still what their sources build to. Only the standard library
is needed.
"""
