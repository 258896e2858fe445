"""Independent checks of what the operator wrote: they read raw objects, as a watch shows them, and no code of ours.

Called by the model of the lifecycle, by the tests on the real API server and by every stress test.
"""
