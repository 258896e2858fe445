"""Documents as kubectl prints them, and lines for people."""

import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, Final

import click
import yaml

from curation.cli.text import safe
from curation.cluster.answers import Document
from curation.cluster.resources import ResourceKind

# What `colour` makes.
_OUR_STYLES: Final = re.compile(r"(\x1b\[(?:0|3[1236])m)")


def say(line: str = "") -> None:
    """One line to stdout, or several of ours; styled words lose their colours when it is not a terminal."""
    # Whoever calls it makes others' texts safe; this is for what somebody forgets.
    parts = _OUR_STYLES.split(line)
    click.echo("".join(part if index % 2 else safe(part, multiline=True) for index, part in enumerate(parts)))


def note(line: str) -> None:
    """Something a person should know beside the result: to stderr, so that pipes stay clean."""
    click.echo(safe(line, multiline=True), err=True)


def print_document(document: Any, output: str) -> None:
    """Print any JSON value as ``json`` or ``yaml``."""
    if output == "json":
        click.echo(json.dumps(document, indent=4))
    else:
        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=False, width=sys.maxsize), nl=False)


def print_object(kind: ResourceKind, document: Document, output: str) -> None:
    """Print one object as ``json``, ``yaml`` or ``name``; managedFields are left out, as kubectl leaves them out."""
    if output == "name":
        click.echo(_name(kind, document))
    else:
        print_document(_shown(document), output)


def print_list(kind: ResourceKind, documents: Sequence[Document], output: str) -> None:
    """Print objects as ``json`` or ``yaml`` (a v1 List) or as ``name``, one a line."""
    if output == "name":
        for document in documents:
            click.echo(_name(kind, document))
        return
    items = [_shown(document) for document in documents]
    print_document({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}, output)


def _name(kind: ResourceKind, document: Document) -> str:
    return f"{kind.kind.lower()}.{kind.group}/{safe(document['metadata']['name'])}"


def _shown(document: Document) -> Document:
    metadata = {key: value for key, value in document["metadata"].items() if key != "managedFields"}
    return {**document, "metadata": metadata}


def colour(phase: str) -> str:
    """The word in the colour of what it means; only a terminal shows it. Source of NO_COLOR: https://no-color.org."""
    if os.environ.get("NO_COLOR"):
        return phase
    colours = {
        "Completed": "green",
        "Approved": "green",
        "Running": "cyan",
        "Submitted": "cyan",
        "AwaitingApproval": "yellow",
        "Pending": "yellow",
        "Failed": "red",
        "Denied": "red",
    }
    return click.style(phase, fg=colours.get(phase))
