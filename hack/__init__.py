"""The programs of this repository's own upkeep, each run by a target of the Makefile: `python -m hack.NAME`.

They generate (`generate`, `metrics_reference`), compare (`modules`), look up (`audit`), remove guards (`guards`), and
start the end-to-end tests (`e2e`).
"""
