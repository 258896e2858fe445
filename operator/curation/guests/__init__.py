"""Runs guests.

`seam` is what is asked of whoever runs guests, `threads` does it in this process, and `run` is one run, in the guest's
own thread. Nothing here knows jobs, policies or HTTP: a guest's call is a document that somebody answers.
"""
