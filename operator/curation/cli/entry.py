"""Where `curation-operator` begins. A guest's pod, for which a run waits, does without what reads a command line."""

import sys


def main() -> None:
    """See `operator.main`."""
    if sys.argv[1:] == ["guest"]:
        from curation.pods.first import carry

        raise SystemExit(carry())
    from curation.cli.operator import main as command

    command()


if __name__ == "__main__":
    main()
