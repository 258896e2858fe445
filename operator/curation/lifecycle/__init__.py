"""The life of a job as pure data and pure functions: no I/O, no clock, no kopf.

The reconciler asks `decide` what to write next and `complete` what an ended run means; everything they know comes in
as arguments, so that every crash point and every order of events can be enumerated by the tests.
"""
