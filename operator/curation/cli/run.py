"""`curation-operator run`: its options, what they are as settings, and the process that they start."""

import gc
import logging
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import click
import uvloop

from curation.cli.logs import configure_logging
from curation.cli.networks import CIDR, PEM_FILE, PUBLIC_KEY, RECEIVER_URL, Network
from curation.cli.run_types import IDENTITY, LEASE, NAMESPACE, Address, Size
from curation.cli.text import safe
from curation.cli.when import LifeTime
from curation.cluster.answers import APIError, Unreachable
from curation.cluster.bounds import RECURSION_LIMIT
from curation.cluster.credentials import ConfigurationError
from curation.notifying.notifier import ReceiverSettings
from curation.oci.frames import MAX_KEYS, PublicKey
from curation.reconciler.process.lifetime import Exit, Process
from curation.reconciler.runtime.settings import GuestSettings, HttpsSettings, LeaseSettings, Settings
from curation.wasm.artifacts import CacheDirError

log = logging.getLogger(__name__)

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@click.command()
@click.option(
    "-n",
    "--namespace",
    "namespaces",
    type=NAMESPACE,
    multiple=True,
    metavar="NAMESPACE",
    envvar="CURATION_NAMESPACE",
    help="Work in this namespace only; may be repeated.",
)
@click.option(
    "--max-concurrent-runs",
    type=click.IntRange(1, 1024),
    default=256,
    show_default=True,
    envvar="CURATION_MAX_CONCURRENT_RUNS",
    help="Submit runs in flight at once.",
)
@click.option(
    "--allow-cidr",
    "allow_cidrs",
    type=CIDR,
    multiple=True,
    envvar="CURATION_ALLOW_CIDR",
    help="A private or loopback network that modules may reach; may be repeated.",
)
@click.option(
    "--deny-cidr",
    "deny_cidrs",
    type=CIDR,
    multiple=True,
    envvar="CURATION_DENY_CIDR",
    help="A network that modules may not reach, allowed or public; wins over --allow-cidr; may be repeated.",
)
@click.option(
    "--ca-bundle",
    type=PEM_FILE,
    envvar="CURATION_CA_BUNDLE",
    help="A PEM file of authorities to trust for modules' https calls and for registries, beside the system's.",
)
@click.option(
    "--require-signature",
    "require_signatures",
    type=PUBLIC_KEY,
    multiple=True,
    envvar="CURATION_REQUIRE_SIGNATURE",
    help="A PEM file with a public key that must have signed (cosign) each module that does not ship with the operator;"
    " of several keys, one. Modules in ConfigMaps are refused then.",
)
@click.option(
    "--approval-ttl",
    type=LifeTime(),
    default="30d",
    show_default=True,
    metavar="30d|never",
    envvar="CURATION_APPROVAL_TTL",
    help="When a grant ends whose decision does not say it.",
)
@click.option(
    "--approval-retention",
    type=LifeTime(least=timedelta(hours=1)),
    default="30d",
    show_default=True,
    metavar="30d|never",
    envvar="CURATION_APPROVAL_RETENTION",
    help="How long an approval is kept that was revoked or has expired.",
)
@click.option(
    "--notify-url",
    type=RECEIVER_URL,
    metavar="URL",
    envvar="CURATION_NOTIFY_URL",
    help="Where to POST a CloudEvent when an approval is pending, decided, expiring or expired, or a job has finished.",
)
@click.option(
    "--notify-key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="CURATION_NOTIFY_KEY_FILE",
    help="The key that signs them (HMAC-SHA256, Standard Webhooks), of 16 bytes or more.",
)
@click.option(
    "--identity",
    type=IDENTITY,
    metavar="NAME",
    envvar="CURATION_IDENTITY",
    help="Name of this replica; the host name by default.",
)
@click.option(
    "--without-cluster-policies",
    is_flag=True,
    envvar="CURATION_WITHOUT_CLUSTER_POLICIES",
    help="With -n: cluster policies do not count, and need not be readable.",
)
@click.option(
    "--workers-socket",
    type=click.Path(path_type=Path),
    metavar="PATH",
    envvar="CURATION_WORKERS_SOCKET",
    help="Modules run in the container in which 'curation-operator workers' serves this socket; by default they run "
    "in processes that the operator starts.",
)
@click.option(
    "--workers-memory",
    type=Size(),
    metavar="SIZE",
    envvar="CURATION_WORKERS_MEMORY",
    help="Memory that workers may take together, such as 2Gi; further runs wait. By default most of the limit of their "
    "container; where it has none, not bounded.",
)
@click.option("--no-lease", is_flag=True, envvar="CURATION_NO_LEASE", help="Work without electing a leader.")
@click.option(
    "--lease-namespace",
    type=NAMESPACE,
    metavar="NAMESPACE",
    envvar="CURATION_LEASE_NAMESPACE",
    help="Namespace of the Lease.",
)
@click.option(
    "--lease-name",
    type=LEASE,
    default="curation-operator",
    show_default=True,
    metavar="NAME",
    envvar="CURATION_LEASE_NAME",
    help="Name of the Lease.",
)
@click.option(
    "--http-bind",
    type=Address(),
    default="127.0.0.1:8080",
    show_default=True,
    envvar="CURATION_HTTP_BIND",
    help="Where /healthz, /readyz and /metrics are served; without HOST on every address, IPv4 and IPv6.",
)
@click.option(
    "--https-bind",
    type=Address(9443),
    envvar="CURATION_HTTPS_BIND",
    help="Where the webhook for policies is served, port 9443 if none is given; by default it is not.",
)
@click.option(
    "--https-certificate",
    type=PEM_FILE,
    envvar="CURATION_HTTPS_CERTIFICATE",
    help="With --https-bind: a PEM file with its certificate and the chain; read anew when it changes.",
)
@click.option(
    "--https-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="CURATION_HTTPS_KEY",
    help="The key of --https-certificate, a PEM file.",
)
@click.option(
    "--guest-pods",
    is_flag=True,
    envvar="CURATION_GUEST_PODS",
    help="Jobs may ask for executor.type Job: their guests run in pods of --guest-namespace. Needs --lease-namespace.",
)
@click.option(
    "--guest-namespace",
    type=NAMESPACE,
    default="curation-guests",
    show_default=True,
    metavar="NAMESPACE",
    envvar="CURATION_GUEST_NAMESPACE",
    help="With --guest-pods: where the pods are; a namespace of the operator's alone.",
)
@click.option(
    "--guest-image",
    metavar="IMAGE",
    envvar="CURATION_GUEST_IMAGE",
    help="With --guest-pods: the image of the pods; by default the one that this operator's own pod has.",
)
@click.option(
    "--door-bind",
    type=Address(9445),
    default="0.0.0.0:9445",
    show_default=True,
    envvar="CURATION_DOOR_BIND",
    help="With --guest-pods: where they come to; without HOST on every address, IPv4 and IPv6.",
)
@click.option(
    "--door-address",
    type=Address(9445),
    metavar="NAME[:PORT]",
    envvar="CURATION_DOOR_ADDRESS",
    help="With --guest-pods: by which name they find every replica; by default that of the Service "
    "curation-operator-door in the namespace of the Lease.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="CURATION_LOG_FORMAT",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="CURATION_LOG_LEVEL",
)
@click.option(
    "--log-calls",
    type=click.Choice(["denied", "all"]),
    default="denied",
    show_default=True,
    envvar="CURATION_LOG_CALLS",
    help="Which calls of modules are in the log, each with who decided about it.",
)
@click.option(
    "--module-cache",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="CURATION_MODULE_CACHE",
    help="A private folder for compiled modules; a temporary one by default.",
)
def run(
    namespaces: Sequence[str],
    max_concurrent_runs: int,
    allow_cidrs: Sequence[Network],
    deny_cidrs: Sequence[Network],
    ca_bundle: Path | None,
    require_signatures: Sequence[PublicKey],
    approval_ttl: timedelta | None,
    approval_retention: timedelta | None,
    notify_url: str | None,
    notify_key_file: Path | None,
    identity: str | None,
    without_cluster_policies: bool,
    workers_socket: Path | None,
    workers_memory: int | None,
    no_lease: bool,
    lease_namespace: str | None,
    lease_name: str,
    http_bind: tuple[str, int],
    https_bind: tuple[str, int] | None,
    https_certificate: Path | None,
    https_key: Path | None,
    guest_pods: bool,
    guest_namespace: str,
    guest_image: str | None,
    door_bind: tuple[str, int],
    door_address: tuple[str, int] | None,
    log_format: str,
    log_level: str,
    log_calls: str,
    module_cache: Path | None,
) -> None:
    """Run the operator until it is stopped.

    Cluster access comes from KUBECONFIG, the pod's service account or ~/.kube/config. Every option can also be set in
    the environment, as CURATION_ and its name. Exit codes: 0 stopped, 2 bad usage or configuration, 3 lost the lease,
    1 anything else.
    """
    if no_lease and lease_namespace:
        raise click.UsageError("--no-lease and --lease-namespace exclude each other; leave one out")
    if without_cluster_policies and not namespaces:
        raise click.UsageError(
            "--without-cluster-policies needs -n: what a cluster policy forbids is forbidden in the whole cluster"
        )
    if (https_certificate is None) != (https_key is None):
        raise click.UsageError("--https-certificate and --https-key need each other; give both")
    lease = None if no_lease else _lease(lease_namespace, lease_name)
    if https_bind is not None and https_certificate is None and lease is None:
        raise click.UsageError(
            "--https-bind needs --https-certificate and --https-key, or --lease-namespace: then the leader makes a "
            "certificate in the Secret curation-operator-webhook of that namespace"
        )
    guests = None
    if guest_pods:
        if lease is None:
            raise click.UsageError(
                "--guest-pods needs --lease-namespace: the leader makes the door's certificate in the Secret "
                "curation-operator-door of that namespace"
            )
        if guest_namespace in (lease.namespace, *namespaces):
            raise click.UsageError(
                f"--guest-namespace {guest_namespace} must be a namespace of its own: who may use pods there may speak "
                "as every module"
            )
        if door_address is not None and not _is_name(door_address[0]):
            raise click.UsageError(
                "--door-address needs a name, which the door's certificate is for: NAME or NAME:PORT"
            )
        address = door_address or (f"curation-operator-door.{lease.namespace}.svc", 9445)
        guests = GuestSettings(guest_namespace, address, door_bind, guest_image)
    if len(require_signatures) > MAX_KEYS:
        raise click.UsageError(f"--require-signature may be given {MAX_KEYS} times at the most")
    if (notify_url is None) != (notify_key_file is None):
        raise click.UsageError("--notify-url and --notify-key-file belong together: what is told is signed")
    configure_logging(log_format, log_level)
    host, port = http_bind
    settings = Settings(
        namespaces=tuple(dict.fromkeys(namespaces)),
        max_concurrent_runs=max_concurrent_runs,
        allow_cidrs=tuple(allow_cidrs),
        deny_cidrs=tuple(deny_cidrs),
        ca_bundle=ca_bundle,
        require_signature=tuple(require_signatures),
        approval_ttl=approval_ttl,
        approval_retention=approval_retention,
        notify=_receiver(notify_url, notify_key_file, allow_cidrs, deny_cidrs, ca_bundle),
        identity=identity or os.uname().nodename,
        cluster_policies=not without_cluster_policies,
        workers_socket=workers_socket,
        workers_memory=workers_memory,
        log_all_calls=log_calls == "all",
        lease=lease,
        http_host=host,
        http_port=port,
        https=None if https_bind is None else HttpsSettings(*https_bind, https_certificate, https_key),
        guests=guests,
    )
    sys.exit(uvloop.run(_run(settings, module_cache)))


# Containers made and not freed between two searches for cycles. Python's own 700 are a few objects of a list or a
# watch; many more than this would let the dead of a burst pile up.
GC_THRESHOLD: Final = 10_000


def _calm_garbage_collection() -> None:
    """Search for cycles less often, and never among what the imports have made (some 90,000 objects)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])


async def _run(settings: Settings, module_cache: Path | None) -> int:
    sys.setrecursionlimit(RECURSION_LIMIT)
    _calm_garbage_collection()
    try:
        return await Process(settings, module_cache).run()
    except (ConfigurationError, CacheDirError) as error:
        click.echo(f"curation-operator: {safe(str(error))}", err=True)
        return Exit.USAGE
    except (APIError, Unreachable, OSError) as error:
        click.echo(f"curation-operator: cannot start: {safe(str(error))}", err=True)
        return Exit.ERROR
    except Exception:
        log.exception("the operator failed")
        return Exit.ERROR


def _receiver(
    url: str | None,
    key_file: Path | None,
    allow_cidrs: Sequence[Network],
    deny_cidrs: Sequence[Network],
    ca_bundle: Path | None,
) -> ReceiverSettings | None:
    """Who is told: through the same floor as modules' calls, and with the same authorities."""
    if url is None or key_file is None:
        return None
    return ReceiverSettings(url, key_file, tuple(map(str, allow_cidrs)), tuple(map(str, deny_cidrs)), ca_bundle)


def _is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return bool(host)
    return False


def _lease(namespace: str | None, name: str) -> LeaseSettings | None:
    """The Lease to elect by: the given one, else one in the pod's own namespace; outside a cluster none."""
    if namespace is None and _SERVICE_ACCOUNT.exists():
        namespace = _SERVICE_ACCOUNT.read_text().strip()
    return LeaseSettings(namespace, name) if namespace else None
