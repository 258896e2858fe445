"""Look what the image holds up in a database of known vulnerabilities: `python -m hack.audit`.

Exit codes: 0 nothing is known, or the database could not be reached, which it says; 1 something is known, or the audit
itself failed.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

LOCK: Final = Path(__file__).parents[1] / "requirements" / "runtime.txt"
SECONDS: Final = 300
# What pip-audit and the HTTP client beneath it say where there is no network, or one that keeps the database out.
_NO_NETWORK: Final = (
    "Could not connect",
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "Max retries exceeded",
    "NameResolutionError",
    "Name or service not known",
    "Temporary failure in name resolution",
    "Network is unreachable",
    "No route to host",
    "Connection refused",
    "ProxyError",
    "403 Client Error",
    "502 Server Error",
    "503 Server Error",
    "504 Server Error",
)


def main(command: tuple[str, ...] = (sys.executable, "-m", "pip_audit"), seconds: float = SECONDS) -> int:
    """Audit; the exit code."""
    options = ("--requirement", str(LOCK), "--require-hashes", "--disable-pip", "--format", "json")
    try:
        done = subprocess.run(
            [*command, *options, "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _not_audited(f"the database of vulnerabilities gave no answer in {seconds:g} s")
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip()
        if any(words in said for words in _NO_NETWORK):
            return _not_audited(f"the database of vulnerabilities cannot be reached: {said.splitlines()[-1][:300]}")
        print(f"error: the audit failed with {done.returncode}:\n{said}", file=sys.stderr)
        return 1
    return _report(found["dependencies"])


def _report(dependencies: list[dict[str, Any]]) -> int:
    known = [(each, vulnerability) for each in dependencies for vulnerability in each.get("vulns", ())]
    for each, vulnerability in known:
        fixed = ", ".join(vulnerability.get("fix_versions", ())) or "no version yet"
        print(f"{each['name']} {each['version']}: {vulnerability['id']}, mended in {fixed}")
    skipped = [each for each in dependencies if "skip_reason" in each]
    if skipped and len(skipped) == len(dependencies):
        # A mirror may answer for the database, and know of no package.
        return _not_audited(f"the database knows none of {len(skipped)} packages; it says: {skipped[0]['skip_reason']}")
    for each in skipped:
        print(f"NOT AUDITED: {each['name']}: {each['skip_reason']}")
    print(f"audited: {len(dependencies) - len(skipped)} packages of {LOCK.name}, {len(known)} known vulnerabilities")
    return 1 if known else 0


def _not_audited(why: str) -> int:
    print(f"NOT AUDITED: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
