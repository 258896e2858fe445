"""`python -m demo [--keep] [--transcript FILE]`, for `make demo`.

Exit codes: 0 the demo has shown what it is to show, 1 it has not, 130 it was interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
from pathlib import Path

from demo import approvals, story, summary
from demo.board import Board, DemoFailed
from demo.kubectl import NAMESPACE, Kubectl
from demo.screen import Screen
from demo.service import SessionsClient
from demo.stage import OPERATOR, PROGRAMS, Stage
from demo.story import Cast
from demo.verdict import problems
from demo.watching import watching
from testing.controlplane.errors import ControlPlaneError, KubectlError
from testing.controlplane.install import MANIFESTS as INSTALLED
from testing.controlplane.install import OPERATOR_USER, install
from testing.controlplane.server import ControlPlane

_INTERRUPTED = 130  # 128 + SIGINT, as a shell says it


async def perform(stage: Stage, screen: Screen, *, keep: bool) -> None:
    """The whole story. Raises DemoFailed when it does not come out as it should."""
    connection = stage.control_plane.connection
    jobs = story.read_jobs(story.JOBS_FILE)
    board = Board()
    async with SessionsClient(await stage.start_sessions()) as sessions:
        kubectl = Kubectl(connection, screen.command, screen.now)
        # There is no node here to run it: the operator is a process of this machine instead.
        await kubectl("delete", "deployment", OPERATOR, "--namespace=curation-system", quiet=True)
        cast = Cast(stage, board, screen, kubectl, sessions, story.names(jobs), story.names(jobs, access="early"))
        await story.modules(cast)
        url = await stage.start_operator()
        screen.say(f"operator: its own process, as {OPERATOR_USER}")
        screen.say(f"session service: its own process, {sessions.url}")
        watched = watching(board, connection.kubeconfig(), NAMESPACE, sessions, f"{url}/metrics", stage.died)
        async with watched:
            with screen.live(board):
                rule = await story.denied_and_held(cast)
                await story.widened_and_retried(cast, rule)
                await story.late_answers(cast, rule)
                _report(problems(await story.gather(cast, cast.names)))
                more = await approvals.approved_and_allowed(cast)
                screen.now("counting")
                evidence = await story.gather(cast, [*cast.names, *more])
        screen.act("Summary")
        screen.show(summary.table(evidence, cast.names))
        _report(problems(evidence))
        screen.show("")
        screen.say(summary.sentence(evidence, cast.names), "bold green")
        if keep:
            # Nothing is checked any more: a person may do with these jobs what they like.
            _invite(stage, screen, sessions.url, url)
            raise DemoFailed(await stage.until_one_dies())
    if code := await stage.stop_operator():
        raise DemoFailed(
            f"the operator ended with {code} on SIGTERM; the end of its log:\n{stage.last_lines(OPERATOR)}"
        )


def _report(found: list[str]) -> None:
    if found:
        raise DemoFailed("\n".join(found))


def _invite(stage: Stage, screen: Screen, sessions_url: str, operator_url: str) -> None:
    connection = stage.control_plane.connection
    lines = (
        f"export KUBECONFIG={shlex.quote(str(connection.kubeconfig()))}",
        f"export PATH={shlex.quote(f'{connection.binaries}:{PROGRAMS}')}:$PATH",
        "",
        f"kubectl get cjob -n {NAMESPACE} -o wide",
        f"kubectl describe cjob dataset-02 -n {NAMESPACE}",
        f"kubectl curation why dataset-02 -n {NAMESPACE}",
        "",
        f"operator: {operator_url}/metrics, log in {stage.log(OPERATOR)}",
        f"session service: {sessions_url}/sessions",
    )
    screen.act("Everything stays up until Ctrl-C; in another terminal:")
    screen.lines_to_copy(lines)


def _run(screen: Screen, *, keep: bool) -> int:
    screen.act("Set-up: a real control plane, the operator, and a session service")
    with ControlPlane() as control_plane:
        screen.say("etcd, kube-apiserver and its controllers run.")
        install(control_plane.connection)
        screen.command(f"kubectl apply --server-side -k {INSTALLED}", "CRDs, RBAC and admission policies")
        with Stage(control_plane) as stage:
            try:
                asyncio.run(perform(stage, screen, keep=keep))
            except Exception as error:
                screen.say(f"The logs are kept in {stage.save_logs()}", "yellow")
                # Who waited for a process that has ended knows only that it waited in vain.
                if isinstance(error, DemoFailed) and (died := stage.died()):
                    raise DemoFailed(died) from error
                raise
    return 0


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="The operator's main job, end to end.")
    parser.add_argument("--keep", action="store_true", help="leave everything up until Ctrl-C")
    parser.add_argument("--transcript", type=Path, metavar="FILE", help="write plain text to FILE as well")
    arguments = parser.parse_args()
    try:
        screen = Screen(arguments.transcript)
    except OSError as error:
        parser.error(f"--transcript: {error}")
    # SIGTERM and a closed terminal end the demo as Ctrl-C does: everything is stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with screen:
        try:
            return _run(screen, keep=arguments.keep)
        except (DemoFailed, ControlPlaneError, KubectlError) as error:
            screen.say(f"FAILED: {error}", "bold red")
            return 1
        except KeyboardInterrupt:
            screen.say("Interrupted; everything is stopped.")
            return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
