"""A fixed piece of work, to measure processor time by: a machine that is slow or busy makes both slower alike.

It is Python's own json, hashing and dictionaries, nothing of ours and nothing of the API server, so that neither a
cheaper operator nor a cheaper server changes it.
"""

import hashlib
import json
import time
from statistics import median
from typing import Final

_DOCUMENT: Final = {
    f"field-{number}": {
        "text": "what a job says " * 4,
        "numbers": list(range(20)),
        "nested": {"a": {"b": {"c": number}}},
    }
    for number in range(20)
}
_REPEATED: Final = 50
_MEASURED: Final = 5


def yardstick() -> float:
    """Processor seconds that the piece of work takes now (some 20 ms): the median of five."""
    return median(_once() for _ in range(_MEASURED))


def _once() -> float:
    began = time.thread_time()
    text, found = json.dumps(_DOCUMENT), dict[str, int]()
    for _ in range(_REPEATED):
        text = json.dumps(json.loads(text), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        for letter in digest * 10:
            found[letter] = found.get(letter, 0) + 1
    return time.thread_time() - began
