"""Modules from OCI registries: pulled, checked by digest, their signatures verified.

What a registry answers is as foreign as what a module's service answers, and it may be the author of the module who
runs it. So all of it is read in a child of this process that does one pull and ends (`pull_child`); `puller` starts it,
bounds it, and reads the digest of what it has left. Every connection is the egress client's, through the address floor.
"""
