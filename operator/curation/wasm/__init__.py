"""Everything about WebAssembly: the engine, what a component must look like, where compiled ones are kept, one run.

`execution` runs guests through `guest.run_guest`; the module reconciler and `curation-operator check` load and check
modules through `store`. Nothing here knows about jobs, policies or HTTP: what a guest asks of its host goes to the
`host_functions.Host` that it was given.

Every execution has a wasmtime `Engine` of its own, made from the artifact that was compiled once. Measured: 64 us and
33 KB more than a shared one. It buys an interrupt that reaches exactly one guest, at once and through the public API
(`Engine.increment_epoch`, the only call that is safe from another thread): a shared engine has one epoch for all
guests, and a deadline that was set too far away cannot be brought nearer while a loop runs.
"""
