"""The operator as it is, which says where in its memory a text stands: `python -m tests.peers.walked FOLDER run ...`.

On SIGUSR1 it goes through all objects that the garbage collector knows, and through what these hold, and writes for
each of the texts in FOLDER/wanted who holds it into FOLDER/found: containers, attributes, closures, and the variables
of coroutines that wait.
"""

import gc
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, GeneratorType, ModuleType
from typing import Any, Final

from curation.cli.operator import main
from curation.cluster.cache import Cache

WANTED: Final = "wanted"
FOUND: Final = "found"
_SHOWN: Final = 40
_REFERRERS: Final = 4


def holders(texts: list[str], ours: set[int]) -> Iterator[tuple[str, Any]]:
    """Each object that directly holds a string, or bytes, with one of the texts, and which."""
    as_bytes = [text.encode() for text in texts]
    seen, left = set(ours), gc.get_objects()
    for cache in [each for each in left if isinstance(each, Cache)]:
        # What was deleted, so that a late answer does not bring it back: bounded, and meant to be remembered.
        seen |= {id(held) for held in vars(cache._deleted).values()}
    seen |= {id(texts), id(as_bytes), id(left)}
    while left:
        holder = left.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        for held in gc.get_referents(holder):
            if isinstance(held, str):
                found = next((text for text in texts if text in held), None)
            elif isinstance(held, bytes | bytearray):
                found = next((text for text, raw in zip(texts, as_bytes, strict=True) if raw in held), None)
            else:
                # What holds strings alone is not known to the collector.
                if not gc.is_tracked(held) and not isinstance(held, int | float | type | ModuleType):
                    left.append(held)
                continue
            if found is not None:
                yield found, holder


def told(holder: Any) -> str:
    """The holder, and who holds it."""
    chain = [f"{type(holder).__module__}.{type(holder).__qualname__} {str(holder)[:300]}"]
    seen, at = {id(holder)}, holder
    for _ in range(_REFERRERS):
        above = [
            each
            for each in gc.get_referrers(at)
            if id(each) not in seen and not isinstance(each, FrameType | GeneratorType | list)
        ]
        if not above:
            break
        at = above[0]
        seen.add(id(at))
        chain.append(f"{type(at).__module__}.{type(at).__qualname__} {str(at)[:120]}")
    return " <- ".join(chain)


def walk(folder: Path) -> None:
    """Answer what is wanted."""
    gc.collect()
    texts: list[str] = json.loads((folder / WANTED).read_text(encoding="utf-8"))
    found: list[tuple[str, str]] = []
    for text, holder in holders(texts, {id(found)}):
        if len(found) < _SHOWN:
            found.append((text, told(holder)))
    made = folder / f"{FOUND}.new"
    made.write_text(json.dumps(found), encoding="utf-8")
    made.replace(folder / FOUND)


if __name__ == "__main__":
    place = Path(sys.argv.pop(1))
    signal.signal(signal.SIGUSR1, lambda *_: walk(place))
    main()
