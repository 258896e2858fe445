"""Guests in pods, as far as the cluster has to do with it: their Jobs, who knocks at the door, and its certificate.

`keeper` makes and removes the Jobs and hears what becomes of them and of their pods (`seen` reads those); `doorkeeper`
judges who knocks. The transport is `curation.pods`, and the runs themselves are the executor's.
"""
