"""`curation-operator`: run the operator, print what it publishes, check a module, try one, build one."""

from importlib import import_module
from typing import Final

import click

_VERBS: Final = {
    "build": "curation.cli.build:build",
    "check": "curation.cli.check_module:check",
    "crds": "curation.cli.published:crds_command",
    "guest": "curation.cli.guest:guest",
    "run": "curation.cli.run:run",
    "sandbox": "curation.cli.sandbox:sandbox",
    "schemas": "curation.cli.published:schemas",
    "try": "curation.cli.trial:try_module",
    "workers": "curation.cli.serve_workers:workers",
}
"""Each is loaded when it is asked for: the process of `run`, which has the cluster's token, loads no other, and that of
`guest`, which a run waits for, loads little."""


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_VERBS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (where := _VERBS.get(cmd_name)) is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = where.partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Verbs, context_settings={"max_content_width": 100})
@click.version_option(package_name="curation-operator", prog_name="curation-operator")
def main() -> None:
    """The curation operator."""


if __name__ == "__main__":
    main()
