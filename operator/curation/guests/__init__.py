"""Runs guests: in threads of this process, or in a *guest host*, a process of their own that has no right at all.

`seam` is what is asked of whoever runs guests; `threads` does it in this process, and `apart` has a guest host do it,
whose program is `host` and whose words are `frames`. `run` is one run, in the guest's own thread, the same for both.
Nothing here knows jobs, policies or HTTP: a guest's call is a document that somebody answers.
"""
