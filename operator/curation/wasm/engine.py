"""Engines and stores of the one configuration of wasmtime that modules are compiled and run with."""

from typing import Protocol

from wasmtime import Config, Engine, Store

from curation.wasm.engine_settings import MAX_INSTANCES, MAX_TABLE_ELEMENTS, MAX_TABLES, SETTINGS, compile_target


class MemoryLimit(Protocol):
    """What a store needs of a run's limits."""

    @property
    def memory(self) -> int:
        """Bytes of linear memory."""
        ...


def new_engine() -> Engine:
    """An engine that accepts the artifacts of every other engine made here. About 15 us."""
    return Engine(_config())


def compiling_engine() -> Engine:
    """One whose artifacts open on every node whose processor is of this kind."""
    config = _config()
    if (target := compile_target()) is not None:
        config.target = target
    return Engine(config)


def _config() -> Config:
    config = Config()
    for name, value in SETTINGS.items():
        setattr(config, name, value)
    return config


def new_store(engine: Engine, limits: MemoryLimit) -> Store:
    """A store for one guest, whose code stops at the first tick of its engine's epoch.

    `memory` bounds the one linear memory that a module may have: wasmtime counts it for each memory, so a second one
    would double it.
    """
    store = Store(engine)
    store.set_limits(
        memory_size=limits.memory,
        table_elements=MAX_TABLE_ELEMENTS,
        instances=MAX_INSTANCES,
        tables=MAX_TABLES,
        memories=1,
    )
    store.set_epoch_deadline(1)
    return store
