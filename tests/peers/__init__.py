"""Programs that act as a peer of the operator, each in a process of its own."""
