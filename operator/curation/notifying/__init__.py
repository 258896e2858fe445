"""Tells another program what happened: CloudEvents 1.0 over HTTP, signed, from a process of its own.

`notice` is what is told, `notifier` what the operator has of it, `sender` the process, `wire` what the two say.
"""
