"""From a crate's folder to a module: the same bytes wherever it is built, with the same compiler.

Called by `curation-operator build` and, for the modules that are shipped, by `python -m hack.modules`. Needs Rust, and
nothing but the standard library beside it.
"""
