"""check-policy: what the operator would say about a policy, before it is applied."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from curation.authz.policy_check import PolicyCheck, check_policy
from curation.cli.errors import PluginError
from curation.cli.options import ANSWER_FORMATS, output_option
from curation.cli.output import print_document
from curation.cli.text import safe
from curation.cluster import yaml_text


@click.command("check-policy")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(allow_dash=True))
@output_option(ANSWER_FORMATS)
def check_policies(files: tuple[str, ...], output: str | None) -> None:
    """Check policies offline, as the operator does.

    A FILE is Cedar text, or a manifest (.yaml, .yml, .json) with CurationPolicies in it; - reads standard input.
    """
    results = [(name, check_policy(text)) for file in files for name, text in _policies(file)]
    if output:
        print_document([_result(name, check) for name, check in results], output)
    else:
        for name, check in results:
            click.echo(safe(f"{name}: {check.reason}: {check.message}"), err=not check.valid)
    if not all(check.valid for _, check in results):
        click.get_current_context().exit(1)


def _result(name: str, check: PolicyCheck) -> dict[str, Any]:
    return {
        "name": name,
        "valid": check.valid,
        "policies": check.count,
        "reason": check.reason,
        "message": check.message,
    }


def _policies(file: str) -> Iterator[tuple[str, str]]:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        text = raw.decode("utf-8")
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise PluginError(f"{file} is not UTF-8 text; a policy is") from None
    documents = _manifests(file, text)
    if documents is None:
        yield file, text
        return
    found = 0
    for document in documents:
        if document.get("kind") in ("CurationPolicy", "ClusterCurationPolicy"):
            found += 1
            name = str((document.get("metadata") or {}).get("name", ""))
            spec = document.get("spec")
            cedar = spec.get("cedar") if isinstance(spec, dict) else None
            if not isinstance(cedar, str):
                raise PluginError(f"{file}: {document['kind']} {name} has no spec.cedar; put the Cedar text there")
            yield f"{file}: {document['kind']}/{name}", cedar
    if not found:
        raise PluginError(f"{file} holds no CurationPolicy and no ClusterCurationPolicy")


def _manifests(file: str, text: str) -> list[dict[str, Any]] | None:
    """The manifests in the text; None if it is Cedar text. Standard input is told apart by what is in it."""
    named = file.endswith((".yaml", ".yml", ".json"))
    if not named and file != "-":
        return None
    try:
        loaded = [json.loads(text)] if file.endswith(".json") else list(yaml_text.load_all(text))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        if named:
            raise PluginError(f"{file} is not valid: {error}") from None
        return None
    documents = [document for document in loaded if isinstance(document, dict)]
    for document in list(documents):
        if isinstance(items := document.get("items"), list):
            documents += [item for item in items if isinstance(item, dict)]
    return documents if named or any("kind" in document for document in documents) else None
