"""The modules that ship with the operator: `build` (`make modules`) writes them into its package, `check` (CI) compares.

How a module is built is in `curation.building`; one of your own is built by `curation-operator build`.
"""
