"""What a process has used, as the benchmarks count it."""

import subprocess
import sys

from bench.processes import cpu_seconds

_SPIN = "import time\nwhile time.process_time() < {seconds}: pass\n"
_BEGINS = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {_SPIN.format(seconds=0.6)!r}])
spins = {_SPIN.format(seconds=0.5)!r} + "print(flush=True)\\ninput()"
going_on = subprocess.Popen([sys.executable, "-c", spins], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
going_on.stdout.readline()
print(flush=True)
input()
going_on.communicate(b"\\n")
"""


def test_the_processes_that_a_process_began_count_with_it_also_when_they_have_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", _BEGINS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as began:
        assert began.stdout is not None
        began.stdout.readline()
        used = cpu_seconds(began.pid)
        began.communicate(b"\n")
    assert used >= 1.0


def test_a_process_that_has_ended_has_used_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert cpu_seconds(ended.pid) == 0
