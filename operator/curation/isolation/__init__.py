"""Processes of our own that work for this one: started without anything of it, bounded, and spoken to in frames.

What a stranger can make slow, large or deadly (policies, modules, what a service answers) belongs into such a child.
`spawn` starts one, `hardening` is what it does first, `frames` is what the two say to each other, and `child` puts
these together for an event loop. Standard library only: a child imports all of it before it is told what to do.
"""
