"""Executes a module for a run: starts it, gates and sends its calls, stops it when its run is superseded, reports once.

The reconciler starts an `Invocation` with an `Executor` and awaits the one `Report` of the `Execution`; it kills the
execution when the run stops being current. The lifecycle decides what a report means for the job.
"""
