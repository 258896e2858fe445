"""A process that inherits orphans, as process 1 of a container does, leaves no zombies of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="zombies are seen in /proc")

# It becomes a subreaper (36 is PR_SET_CHILD_SUBREAPER). Its child starts two grandchildren and kills itself, and what
# is left of them comes to it; a child of its own ends meanwhile, and is waited for a moment later.
_INIT = """
import ctypes, json, os, subprocess, sys, time
from curation.isolation.orphans import LOOKS, Orphans, _zombies

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
middle = subprocess.Popen([sys.executable, "-c", '''
import os, signal, subprocess, sys
for _ in range(2):
    subprocess.Popen([sys.executable, "-c", "pass"])
os.kill(os.getpid(), signal.SIGKILL)
'''])
middle.wait()
mine = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
while len(_zombies(os.getpid())) < 3:
    time.sleep(0.01)
orphans = Orphans(init=True)
early = [orphans.look() for _ in range(LOOKS - 1)]
code = mine.wait()
reaped = orphans.look()
print(json.dumps({"early": early, "code": code, "reaped": len(reaped), "left": len(_zombies(os.getpid()))}))
"""


def test_orphans_are_reaped_and_a_child_that_somebody_waits_for_is_left_to_him() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INIT],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=Path(__file__).parent,
    )
    assert json.loads(done.stdout) == {"early": [[]] * 4, "code": 7, "reaped": 2, "left": 0}
