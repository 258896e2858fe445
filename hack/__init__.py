"""Tools of the repository itself: what `make`, the tests and the demo need, and what is never installed."""
