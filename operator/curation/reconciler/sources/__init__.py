"""What a run is made of: modules and the bytes of their sources, their credentials, and the policies in force.

`modules` and `policies` are the reconcilers of their kinds, called by the workers of the queue; the jobs' room asks
them for a module's state, its build and its credentials. `in_use` keeps what a session needs in order to be cancelled.
"""
