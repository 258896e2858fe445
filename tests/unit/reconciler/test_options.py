"""`curation-operator run`: what its options and their CURATION_ variables mean, and what it says of bad ones."""

import socket
from ipaddress import ip_network
from pathlib import Path

import certifi
import click
import pytest
from click.testing import CliRunner, Result

from curation.cli import run as running
from curation.cli.operator import main
from curation.egress.client import CONNECTIONS
from curation.reconciler.jobs import cleanup, observation
from curation.reconciler.process.lifetime import Exit
from curation.reconciler.runtime.settings import GuestSettings, HttpsSettings, LeaseSettings, Settings

Seen = list[tuple[Settings, Path | None]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """The settings of the processes that were started; none of them really is."""
    found: Seen = []

    async def note(settings: Settings, module_cache: Path | None) -> int:
        found.append((settings, module_cache))
        return Exit.STOPPED

    monkeypatch.setattr(running, "_run", note)
    monkeypatch.setattr(running, "configure_logging", lambda *_: None)
    monkeypatch.setattr(running, "_SERVICE_ACCOUNT", Path("no-such-file"))
    return found


def run(*arguments: str, **environment: str) -> Result:
    cleared = {f"CURATION_{name}": None for name in ("NAMESPACE", "HTTP_BIND", "NO_LEASE", "LEASE_NAMESPACE")}
    return CliRunner().invoke(main, ["run", *arguments], env={**cleared, **environment})


def test_without_options_it_serves_the_whole_cluster_with_the_documented_defaults(seen: Seen) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    ((settings, module_cache),) = seen
    assert settings.namespaces == ()
    assert settings.max_concurrent_runs == 256
    assert settings.allow_cidrs == ()
    assert settings.deny_cidrs == ()
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8080)
    assert settings.ca_bundle is None
    assert settings.lease is None
    assert settings.identity == socket.gethostname()
    assert settings.workers_memory is None
    assert module_cache is None


def test_options_become_settings(seen: Seen, tmp_path: Path) -> None:
    result = run(
        *("-n", "a", "--namespace", "b", "-n", "a", "--max-concurrent-runs", "7", "--allow-cidr", "127.0.0.0/8"),
        *("--allow-cidr", "fd00::/8", "--identity", "me", "--lease-namespace", "system", "--lease-name", "mine"),
        *("--http-bind", "[::1]:0", "--module-cache", str(tmp_path), "--ca-bundle", certifi.where()),
        *("--workers-memory", "3Gi"),
    )
    assert result.exit_code == 0, result.output
    ((settings, module_cache),) = seen
    assert settings.namespaces == ("a", "b"), "a namespace that is given twice is watched once"
    assert settings.max_concurrent_runs == 7
    assert settings.allow_cidrs == (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))
    assert settings.identity == "me"
    assert settings.lease == LeaseSettings("system", "mine")
    assert (settings.http_host, settings.http_port) == ("::1", 0)
    assert settings.ca_bundle == Path(certifi.where())
    assert module_cache == tmp_path
    assert settings.workers_memory == 3 << 30


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":8080", "", 8080),
        ("[::]:80", "::", 80),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
        ("0.0.0.0:0", "0.0.0.0", 0),
        ("localhost:65535", "localhost", 65535),
    ],
)
def test_an_address_to_listen_on_is_a_host_and_a_port(seen: Seen, text: str, host: str, port: int) -> None:
    assert run("--http-bind", text).exit_code == 0
    assert (seen[0][0].http_host, seen[0][0].http_port) == (host, port)


def test_every_option_can_be_set_in_the_environment_as_curation_and_its_name() -> None:
    options = [option for option in running.run.params if isinstance(option, click.Option)]
    assert len(options) > 8
    for option in options:
        longest = max(option.opts, key=len)
        assert option.envvar == "CURATION_" + longest.removeprefix("--").replace("-", "_").upper()


def test_the_environment_means_what_the_options_mean(seen: Seen) -> None:
    result = run(
        CURATION_NAMESPACE="a b",
        CURATION_MAX_CONCURRENT_RUNS="9",
        CURATION_ALLOW_CIDR="127.0.0.0/8 10.0.0.0/8",
        CURATION_DENY_CIDR="10.96.0.0/12 fd00:10:96::/112",
        CURATION_IDENTITY="env",
        CURATION_NO_LEASE="true",
        CURATION_HTTP_BIND="0.0.0.0:9",
    )
    assert result.exit_code == 0, result.output
    ((settings, _),) = seen
    assert settings.namespaces == ("a", "b")
    assert settings.max_concurrent_runs == 9
    assert settings.allow_cidrs == (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"))
    assert settings.deny_cidrs == (ip_network("10.96.0.0/12"), ip_network("fd00:10:96::/112"))
    assert settings.identity == "env"
    assert settings.lease is None
    assert (settings.http_host, settings.http_port) == ("0.0.0.0", 9)


def test_an_option_wins_over_the_environment(seen: Seen) -> None:
    run("--identity", "option", CURATION_IDENTITY="env")
    assert seen[0][0].identity == "option"


def test_in_a_pod_it_elects_a_leader_in_its_own_namespace(
    seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "namespace"
    account.write_text("curation-system\n")
    monkeypatch.setattr(running, "_SERVICE_ACCOUNT", account)
    run()
    run("--no-lease")
    assert [settings.lease for settings, _ in seen] == [LeaseSettings("curation-system", "curation-operator"), None]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--no-lease", "--lease-namespace", "x"], "--no-lease and --lease-namespace exclude each other"),
        (["--without-cluster-policies"], "--without-cluster-policies needs -n"),
        (["-n", "Not_A_Namespace"], "'Not_A_Namespace' is not a namespace's name"),
        (["--identity", "i" * 254], "is not 1 to 253 visible ASCII characters"),
        (["--identity", "two words"], "'two words' is not 1 to 253 visible ASCII characters"),
        (["--lease-namespace", "a/b"], "'a/b' is not a namespace's name"),
        (["--lease-name", "a/b"], "'a/b' is not a Lease's name"),
        (["--allow-cidr", "10.0.0.1/8"], "write a network such as 10.0.0.0/8"),
        (["--allow-cidr", "everything"], "write a network such as 10.0.0.0/8"),
        (["--http-bind", "::1:8080"], "'::1:8080' is not HOST:PORT such as 127.0.0.1:8080, [::1]:8080, or :8080"),
        (["--http-bind", "[127.0.0.1]:8080"], "'[127.0.0.1]:8080' is not HOST:PORT"),
        (["--http-bind", "[::1:8080"], "'[::1:8080' is not HOST:PORT"),
        (["--http-bind", "http://localhost:8080"], "'http://localhost:8080' is not HOST:PORT"),
        (["--http-bind", "localhost:8080²"], "is not HOST:PORT"),
        (["--http-bind", "8080"], "'8080' is not HOST:PORT"),
        (["--http-bind", "localhost:http"], "'localhost:http' is not HOST:PORT"),
        (["--http-bind", "127.0.0.1:65536"], "'127.0.0.1:65536' is not HOST:PORT"),
        (["--max-concurrent-runs", "0"], "0 is not in the range 1<=x<=1024"),
        (["--max-concurrent-runs", "many"], "'many' is not a valid integer range"),
        (["--workers-memory", "0"], "'0' is not a number of bytes such as 2Gi or 512Mi"),
        (["--workers-memory", "2GiB"], "'2GiB' is not a number of bytes such as 2Gi or 512Mi"),
        (["--log-format", "xml"], "'xml' is not one of 'text', 'json'"),
        (["--log-level", "loud"], "'loud' is not one of"),
        (["--ca-bundle", "no-such-file"], "no-such-file is not a PEM file of certificates that can be read: "),
        (["--ca-bundle", __file__], "is not a PEM file of certificates that can be read: "),
        (["--unknown"], "No such option"),
        (["something"], "unexpected extra argument"),
    ],
)
def test_bad_usage_exits_with_2_and_says_what_is_wrong(seen: Seen, arguments: list[str], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert seen == []


def test_a_bad_variable_is_bad_usage_too(seen: Seen) -> None:
    result = run(CURATION_HTTP_BIND="nowhere")
    assert result.exit_code == 2
    assert "'nowhere' is not HOST:PORT" in result.output
    assert seen == []


def test_a_cluster_access_that_is_no_good_is_a_configuration_error(tmp_path: Path) -> None:
    result = run("--no-lease", KUBECONFIG=str(tmp_path / "missing"))
    assert result.exit_code == Exit.USAGE
    assert "missing" in result.output


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],"
        " clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {}}]}"
    )
    result = run("--no-lease", "--http-bind=127.0.0.1:0", KUBECONFIG=str(kubeconfig))
    assert result.exit_code == Exit.ERROR
    assert "curation-operator: cannot start:" in result.output


def test_a_holder_is_the_identity_and_something_that_no_other_process_has() -> None:
    first, second = Settings(identity="me"), Settings(identity="me")
    assert first.holder.startswith("me/")
    assert first.holder != second.holder, "a restarted process must not take a dead run for its own"


def test_no_execution_waits_for_a_connection_behind_others_whatever_the_options_say() -> None:
    """Its service would be blamed as slow."""
    (option,) = [each for each in running.run.params if each.name == "max_concurrent_runs"]
    assert isinstance(option.type, click.IntRange)
    assert option.type.max is not None
    assert option.type.max + observation.OBSERVATIONS_AT_ONCE + cleanup.CANCELS_AT_ONCE <= CONNECTIONS


@pytest.mark.parametrize(
    ("given", "host", "port"),
    [
        ("127.0.0.1", "127.0.0.1", 9443),
        ("127.0.0.1:0", "127.0.0.1", 0),
        (":9000", "", 9000),
        ("[::1]", "::1", 9443),
        ("[::]:1", "::", 1),
    ],
)
def test_the_webhook_is_served_where_it_is_told_and_at_9443_if_no_port_is_given(
    seen: Seen, given: str, host: str, port: int
) -> None:
    assert run().exit_code == 0
    assert run("--lease-namespace", "system", "--https-bind", given).exit_code == 0
    without, settings = (each for each, _ in seen)
    assert without.https is None
    assert settings.https == HttpsSettings(host, port)


def test_the_webhook_needs_a_certificate_or_a_place_to_make_one(seen: Seen, tmp_path: Path) -> None:
    refused = run("--https-bind", "127.0.0.1")
    assert refused.exit_code == Exit.USAGE
    assert "--lease-namespace" in refused.output
    key = tmp_path / "key"
    key.write_text("x")
    alone = run("--https-bind", "127.0.0.1", "--https-key", str(key))
    assert alone.exit_code == Exit.USAGE
    assert "need each other" in alone.output
    both = run("--https-bind", "127.0.0.1", "--https-certificate", certifi.where(), "--https-key", str(key))
    assert both.exit_code == 0, both.output
    ((settings, _),) = seen
    assert settings.https == HttpsSettings("127.0.0.1", 9443, Path(certifi.where()), key)


def test_guest_pods_are_off_unless_asked_for_and_then_have_the_names_of_the_manifests(seen: Seen) -> None:
    assert run().exit_code == 0
    assert seen[-1][0].guests is None
    assert run("--guest-pods", "--lease-namespace=curation-system").exit_code == 0
    guests = seen[-1][0].guests
    assert guests == GuestSettings(
        "curation-guests", ("curation-operator-door.curation-system.svc", 9445), ("0.0.0.0", 9445), None
    )
    own = ("--guest-namespace=g", "--guest-image=i", "--door-bind=127.0.0.1:1", "--door-address=door.example")
    assert run("--guest-pods", "--lease-namespace=n", *own).exit_code == 0
    assert seen[-1][0].guests == GuestSettings("g", ("door.example", 9445), ("127.0.0.1", 1), "i")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--guest-pods",), "--guest-pods needs --lease-namespace"),
        (("--guest-pods", "--lease-namespace=n", "--guest-namespace=n"), "must be a namespace of its own"),
        (("--guest-pods", "--lease-namespace=n", "-n", "a", "--guest-namespace=a"), "must be a namespace of its own"),
        (("--guest-pods", "--lease-namespace=n", "--door-address=10.0.0.1"), "--door-address needs a name"),
        (("--guest-pods", "--lease-namespace=n", "--door-address=:9445"), "--door-address needs a name"),
    ],
)
def test_guest_pods_that_could_not_work_are_refused_with_the_remedy(
    seen: Seen, arguments: tuple[str, ...], said: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert seen == []
