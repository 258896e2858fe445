"""Where a person's program finds the cluster, in kubectl's order."""

import os
from pathlib import Path


def personal_environ(kubeconfig: str | None) -> dict[str, str]:
    """The environment that says it: a file that is named, KUBECONFIG, ~/.kube/config, and only then the pod's own."""
    default = Path.home() / ".kube" / "config"
    stated = kubeconfig or os.environ.get("KUBECONFIG") or (str(default) if default.is_file() else "")
    return {**os.environ, "KUBECONFIG": stated}
