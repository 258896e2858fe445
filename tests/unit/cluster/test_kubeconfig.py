"""A kubeconfig is understood as kubectl does: each field is honoured, or the file is refused by the field's name.

Matrix: files (none, empty, several, broken), what is merged from where, relative paths, options over files, each field
of a cluster and of a user, contradictions, impersonation. Who the API server takes us for is compared with kubectl in
`tests/integration/cluster/test_identity.py`.
"""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from curation.cluster.kubeconfig import Access, Overrides, read
from curation.cluster.kubeconfig_entries import ClusterEntry, ConfigurationError, Exec, User

EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "plugin", "interactiveMode": "Never"}
PEM = base64.b64encode(b"PEM").decode()


def write(
    path: Path,
    *,
    cluster: dict[str, Any] | None = None,
    user: dict[str, Any] | None = None,
    name: str = "c",
    current: bool = True,
    **more: Any,
) -> str:
    """A kubeconfig with one entry of each kind."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}", **(cluster or {})}}],
        "users": [{"name": name, "user": user or {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        **({"current-context": name} if current else {}),
        **more,
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return str(path)


def refusal(kubeconfig: str, overrides: Overrides | None = None) -> str:
    """Why it is refused."""
    with pytest.raises(ConfigurationError) as refused:
        read(kubeconfig, overrides)
    return str(refused.value)


def test_an_empty_file_in_the_list_is_passed_over_and_so_is_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "comments").write_text("# nothing\n")
    one = write(tmp_path / "1", user={"token": "t"})
    parts = ("", str(tmp_path / "missing"), str(tmp_path / "empty"), str(tmp_path / "comments"), one)
    assert read(os.pathsep.join(parts)).token == "t"


def test_of_several_files_the_first_that_has_a_name_counts_whole(tmp_path: Path) -> None:
    first = write(tmp_path / "1", user={"token": "t1"}, current=False)
    second = write(tmp_path / "2", user={"token": "t2", "as": "bob"}, cluster={"tls-server-name": "two"})
    third = write(tmp_path / "3", name="other")
    access = read(os.pathsep.join((first, second, third)))
    assert (access.server, access.token, access.impersonation, access.tls_server_name) == ("https://c", "t1", (), "")


def test_relative_paths_begin_at_the_folder_of_the_file_that_names_them(tmp_path: Path) -> None:
    files = {"client-certificate": "x.crt", "client-key": "keys/x.key", "tokenFile": "../token"}
    first = write(tmp_path / "a" / "1", cluster={"certificate-authority": "ca.crt"}, current=False)
    second = write(tmp_path / "b" / "2", user={**files, "exec": {**EXEC, "command": "./plugin"}}, name="u")
    merged = read(os.pathsep.join((first, second)), Overrides(context="u", cluster="c"))
    assert merged.ca_file == str(tmp_path / "a" / "ca.crt")
    assert merged.certificate_file == str(tmp_path / "b" / "x.crt")
    assert merged.key_file == str(tmp_path / "b" / "keys" / "x.key")
    assert Path(merged.token_file).resolve() == tmp_path / "token"
    assert merged.exec is not None
    assert Path(merged.exec.command).resolve() == tmp_path / "b" / "plugin"


def test_a_plugin_without_a_slash_is_searched_for_on_the_path(tmp_path: Path) -> None:
    found = read(write(tmp_path / "k", user={"exec": EXEC})).exec
    assert found is not None
    assert found.command == "plugin"


def test_a_tilde_is_a_name_like_any_other_as_for_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "k", user={"token": "home"})
    other = write(tmp_path / "other", user={"token": "other"})
    assert read(os.pathsep.join(("~/k", other))).token == "other"


HONOURED_OF_CLUSTERS: dict[str, tuple[object, str, object]] = {
    "server": ("https://x:1/p/", "server", "https://x:1/p"),
    "tls-server-name": ("n", "tls_server_name", "n"),
    "insecure-skip-tls-verify": (True, "insecure", True),
    "certificate-authority": ("/ca", "ca_file", "/ca"),
    "certificate-authority-data": (PEM, "ca_data", b"PEM"),
    "proxy-url": ("http://p:1", "proxy", "http://p:1"),
    "disable-compression": (True, "disable_compression", True),
    "extensions": ([{"name": "e", "extension": {"a": [1]}}], "server", "https://c"),
}
HONOURED_OF_USERS: dict[str, tuple[object, str, object]] = {
    "client-certificate": ("/c", "certificate_file", "/c"),
    "client-certificate-data": (PEM, "certificate_data", b"PEM"),
    "client-key": ("/k", "key_file", "/k"),
    "client-key-data": (PEM, "key_data", b"PEM"),
    "token": ("t", "token", "t"),
    "tokenFile": ("/t", "token_file", "/t"),
    "as": ("bob", "impersonation", (("Impersonate-User", "bob"),)),
    "as-uid": ("7", "impersonation", (("Impersonate-User", "b"), ("Impersonate-Uid", "7"))),
    "as-groups": (
        ["g", "h"],
        "impersonation",
        (("Impersonate-User", "b"), ("Impersonate-Group", "g"), ("Impersonate-Group", "h")),
    ),
    "as-user-extra": (
        {"a/b%": ["1", "2"]},
        "impersonation",
        (("Impersonate-User", "b"), ("Impersonate-Extra-a%2Fb%25", "1"), ("Impersonate-Extra-a%2Fb%25", "2")),
    ),
    "username": ("u", "username", "u"),
    "password": ("p", "password", "p"),
    "auth-provider": ({"name": "oidc", "config": {"id-token": "not.a.jwt"}}, "token", "not.a.jwt"),
    "exec": (EXEC, "exec", Exec(**EXEC)),  # type: ignore[arg-type]
    "extensions": ([], "token", ""),
}
NEEDS: dict[str, dict[str, object]] = {
    "client-certificate": {"client-key": "/k"},
    "client-certificate-data": {"client-key": "/k"},
    **{name: {"as": "b"} for name in ("as-uid", "as-groups", "as-user-extra")},
}


def test_these_are_all_the_fields_there_are() -> None:
    for model, honoured in ((ClusterEntry, HONOURED_OF_CLUSTERS), (User, HONOURED_OF_USERS)):
        assert {field.alias or name for name, field in model.model_fields.items()} == set(honoured)


@pytest.mark.parametrize("name", HONOURED_OF_CLUSTERS)
def test_each_field_of_a_cluster_counts(tmp_path: Path, name: str) -> None:
    value, attribute, expected = HONOURED_OF_CLUSTERS[name]
    assert getattr(read(write(tmp_path / "k", cluster={name: value})), attribute) == expected


@pytest.mark.parametrize("name", HONOURED_OF_USERS)
def test_each_field_of_a_user_counts(tmp_path: Path, name: str) -> None:
    value, attribute, expected = HONOURED_OF_USERS[name]
    assert getattr(read(write(tmp_path / "k", user={name: value, **NEEDS.get(name, {})})), attribute) == expected


@pytest.mark.parametrize("kind", ["cluster", "user"])
@pytest.mark.parametrize("value", [None, "x", 1, ["x"]])
def test_a_null_is_nothing_and_what_is_no_field_or_of_another_type_is_refused_by_its_name(
    tmp_path: Path, kind: str, value: object
) -> None:
    entry: dict[str, Any] = {kind: {"as-group": value}}
    kubeconfig = write(tmp_path / "k", **entry)
    if value is None:
        assert read(kubeconfig) == read(write(tmp_path / "plain"))
        return
    said = refusal(kubeconfig)
    assert f"{tmp_path / 'k'}: {kind} c: as-group: is not a field" in said
    mistyped: dict[str, Any] = {kind: {"extensions": 5}}
    typed = refusal(write(tmp_path / "t", **mistyped))
    assert f"{kind} c: extensions:" in typed


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"current_context": "c"}, "current_context"),
        ({"users": [{"name": "c", "user": {}, "as": "bob"}]}, "users[0].as"),
        ({"clusters": [{"name": "c", "cluster": {"server": "h"}, "insecure": True}]}, "clusters[0].insecure"),
        ({"contexts": [{"name": "c", "context": {}, "namespace": "n"}]}, "contexts[0].namespace"),
    ],
)
def test_a_field_in_the_wrong_place_of_the_file_is_refused_by_its_name(
    tmp_path: Path, more: dict[str, Any], place: str
) -> None:
    said = refusal(write(tmp_path / "k", **more))
    assert f"{tmp_path / 'k'}: {place}: is not a field that Kubernetes has" in said


def test_what_kubernetes_has_beside_clusters_users_and_contexts_is_read(tmp_path: Path) -> None:
    kubeconfig = write(tmp_path / "k", preferences={"colors": True}, extensions=[{"name": "x", "extension": {}}])
    assert read(kubeconfig) == read(write(tmp_path / "plain"))


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"user": {"as-groups": ["g"]}}, "as-groups"),
        ({"user": {"as-uid": "1"}}, "as-uid"),
        ({"user": {"as-user-extra": {"a": ["b"]}}}, "as-user-extra"),
        ({"user": {"as": "a\r\nX: y"}}, "Impersonate-User: holds a control character"),
        ({"user": {"as": 5}}, "as:"),
        ({"user": {"token": 5}}, "token:"),
        ({"user": {"token": "t", "username": "u"}}, "token and username"),
        ({"user": {"client-certificate": "/c"}}, "client-key"),
        ({"user": {"client-certificate": "/c", "client-certificate-data": PEM, "client-key": "/k"}}, "-data"),
        ({"user": {"client-certificate-data": "%", "client-key": "/k"}}, "client-certificate-data: "),
        ({"user": {"auth-provider": {"name": "gcp"}}}, "auth-provider: gcp is not supported"),
        ({"user": {"auth-provider": {"name": "oidc"}}}, "id-token"),
        ({"user": {"auth-provider": {"name": "oidc", "config": {"id-token": "x"}}, "exec": EXEC}}, "exclude"),
        ({"user": {"exec": {**EXEC, "command": ""}}}, "exec.command"),
        ({"user": {"exec": {**EXEC, "apiVersion": "client.authentication.k8s.io/v1alpha1"}}}, "exec.apiVersion"),
        ({"user": {"exec": {**EXEC, "interactiveMode": ""}}}, "exec.interactiveMode"),
        ({"user": {"exec": {**EXEC, "interactiveMode": "Sometimes"}}}, "exec.interactiveMode"),
        ({"user": {"exec": {**EXEC, "timeout": 5}}}, "exec.timeout"),
        ({"cluster": {"server": ""}}, "has no server"),
        ({"cluster": {"server": "ftp://x"}}, "server"),
        ({"cluster": {"server": "https://x:port"}}, "server"),
        ({"cluster": {"proxy-url": "socks5://p:1"}}, "proxy-url: socks5"),
        ({"cluster": {"proxy-url": "p"}}, "proxy-url"),
        ({"cluster": {"certificate-authority": "/c", "certificate-authority-data": PEM}}, "exclude"),
        ({"cluster": {"certificate-authority": "/c", "insecure-skip-tls-verify": True}}, "exclude"),
        ({"clusters": []}, "there is no cluster of the name c"),
        ({"users": []}, "there is no user of the name c"),
        ({"contexts": []}, "there is no context of the name c, which current-context asks for"),
        ({"contexts": [{"name": "c", "context": {"user": "c"}}]}, "context c names no cluster"),
        ({"users": [{"name": "c"}, {"name": "c"}]}, "twice"),
        ({"users": [{"user": {}}]}, "users[0].name"),
        ({"users": {}}, None),
        ({"users": "x"}, "users: must be a list"),
        ({"kind": "List"}, "kind"),
        ({"apiVersion": "v2"}, "apiVersion"),
        ({"current-context": 5}, "current-context"),
        ({"current-context": ""}, "no current-context"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(tmp_path: Path, parts: dict[str, Any], says: str | None) -> None:
    assert (says or "there is no user") in refusal(write(tmp_path / "k", **parts))


@pytest.mark.parametrize("text", ["a: [", "- 1", "text", "\x00", "a: 1\n---\nb: 2\n"])
def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").write_text(text)
    assert str(tmp_path / "k") in refusal(str(tmp_path / "k"))


def test_an_entry_that_is_not_used_may_be_whatever_it_is(tmp_path: Path) -> None:
    users = [{"name": "c", "user": {"token": "t"}}, {"name": "other", "user": {"auth-provider": {"name": "gcp"}}}]
    assert read(write(tmp_path / "k", users=users)).token == "t"


def test_options_win_over_the_file_as_with_kubectl(tmp_path: Path) -> None:
    kubeconfig = write(
        tmp_path / "k",
        cluster={"certificate-authority-data": PEM, "tls-server-name": "n"},
        user={
            "token": "t",
            "as": "bob",
            "as-groups": ["g"],
            "client-certificate-data": PEM,
            "client-key-data": PEM,
        },
    )

    def chosen(**options: Any) -> Access:
        return read(kubeconfig, Overrides(**options))

    def refused(**options: Any) -> str:
        return refusal(kubeconfig, Overrides(**options))

    assert chosen(token="u").token == "u"
    assert chosen(as_user="eve").impersonation == (("Impersonate-User", "eve"), ("Impersonate-Group", "g"))
    assert chosen(as_group=("h",)).impersonation == (("Impersonate-User", "bob"), ("Impersonate-Group", "h"))
    extra = chosen(as_user_extra=("k=1", "k=2=3")).impersonation[2:]
    assert extra == (("Impersonate-Extra-k", "1"), ("Impersonate-Extra-k", "2=3"))
    insecure = chosen(insecure_skip_tls_verify=True)
    assert (insecure.insecure, insecure.ca_data, insecure.ca_file) == (True, b"", "")
    authority = chosen(certificate_authority="rel.crt")
    assert (authority.ca_file, authority.ca_data) == ("rel.crt", b""), "an option's path begins where the user is"
    elsewhere = chosen(server="https://other")
    assert (elsewhere.server, elsewhere.tls_server_name) == ("https://other", "")
    assert chosen(server="https://other", tls_server_name="m").tls_server_name == "m"
    pair = chosen(client_certificate="c.crt", client_key="c.key")
    assert (pair.certificate_file, pair.certificate_data, pair.key_file, pair.key_data) == ("c.crt", b"", "c.key", b"")
    for option, kind in (("context", "context"), ("cluster", "cluster"), ("user", "user")):
        assert f"there is no {kind} of the name none" in refused(**{option: "none"})


def test_a_server_alone_is_enough(tmp_path: Path) -> None:
    access = read(str(tmp_path / "none"), Overrides(server="host:6443", token="t"))
    assert (access.server, access.token) == ("http://host:6443", "t"), "client-go takes it for http"


def test_a_plugin_that_asks_for_it_gets_the_cluster(tmp_path: Path) -> None:
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}
    cluster = {"certificate-authority-data": PEM, "tls-server-name": "n", "extensions": [extension]}
    user = {"exec": {**EXEC, "provideClusterInfo": True}}
    document = read(write(tmp_path / "k", cluster=cluster, user=user)).exec_cluster
    assert json.loads(json.dumps(document)) == {
        "server": "https://c",
        "tls-server-name": "n",
        "certificate-authority-data": PEM,
        "config": {"audience": "a"},
    }
