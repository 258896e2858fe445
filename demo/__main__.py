"""`python -m demo [--keep] [--cluster current] [--transcript FILE]`, for `make demo`.

Exit codes: 0 the demo has shown what it is to show, 1 it has not, 130 it was interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from demo import approvals, story, summary
from demo.board import Board, DemoFailed
from demo.cluster import current_cluster
from demo.kubectl import NAMESPACE, Kubectl
from demo.reach import Reach
from demo.screen import Screen
from demo.service import SessionsClient
from demo.stage import Stage
from demo.story import Cast
from demo.verdict import problems
from demo.watching import watching
from testing.controlplane.build import find_or_build
from testing.controlplane.errors import ControlPlaneError, KubectlError
from testing.controlplane.install import OPERATOR_USER, install, overlay_for
from testing.controlplane.server import ControlPlane
from testing.operator_process import PROGRAM
from testing.supervised import OPERATOR, ProgramError

_INTERRUPTED = 130  # 128 + SIGINT, as a shell says it


async def perform(stage: Stage, screen: Screen, *, keep: bool, before_the_end: Callable[[], None]) -> None:
    """The whole story. Raises DemoFailed when it does not come out as it should."""
    connection = stage.cluster
    jobs = story.read_jobs(story.JOBS_FILE)
    board = Board()
    async with SessionsClient(await stage.start_sessions()) as sessions:
        kubectl = Kubectl(connection, screen.command, screen.now)
        # There is no node here to run it: the operator is a process of this machine instead.
        await kubectl("delete", "deployment", OPERATOR, "--namespace=curation-system", "--ignore-not-found", quiet=True)
        cast = Cast(stage, board, screen, kubectl, sessions, story.names(jobs), story.names(jobs, access="early"))
        await story.modules(cast)
        url = await stage.start()
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
    before_the_end()
    if code := await stage.stop_operator():
        raise DemoFailed(
            f"the operator ended with {code} on SIGTERM; the end of its log:\n{stage.last_lines(OPERATOR)}"
        )


def _report(found: list[str]) -> None:
    if found:
        raise DemoFailed("\n".join(found))


def _invite(stage: Stage, screen: Screen, sessions_url: str, operator_url: str) -> None:
    connection = stage.cluster
    lines = (
        f"export KUBECONFIG={shlex.quote(str(connection.kubeconfig()))}",
        f"export PATH={shlex.quote(f'{connection.binaries}:{PROGRAM.parent}')}:$PATH",
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


def _run_here(screen: Screen, *, keep: bool) -> None:
    screen.act("Set-up: a real control plane, the operator, and a session service")
    # The controllers take part where they are there; nothing in the demo waits for them.
    binaries = find_or_build(controllers=False)
    manager = binaries.controller_manager is not None
    with ControlPlane(binaries=binaries, controller_manager=manager) as control_plane:
        screen.say(f"etcd and kube-apiserver {binaries.version} run{', with the controllers' if manager else ''}.")
        overlay = overlay_for(binaries.version)
        install(control_plane.connection, overlay=overlay)
        screen.command(f"kubectl apply --server-side -k {overlay}", "CRDs, RBAC and admission policies")
        _run_on(control_plane.connection, screen, keep=keep, empty=lambda: None)


def _run_on_current_cluster(screen: Screen, *, keep: bool) -> None:
    screen.act("Set-up: the cluster of the current kubeconfig, the operator, and a session service")
    with current_cluster(NAMESPACE, screen.say) as cluster:
        _run_on(cluster, screen, keep=keep, empty=cluster.empty)


def _run_on(cluster: Reach, screen: Screen, *, keep: bool, empty: Callable[[], None]) -> None:
    with Stage(cluster) as stage:
        try:
            asyncio.run(perform(stage, screen, keep=keep, before_the_end=empty))
        except BaseException as error:
            if isinstance(error, Exception):
                screen.say(f"The logs are kept in {stage.save_logs()}", "yellow")
            # Who waited for a process that has ended knows only that it waited in vain.
            died = stage.died()
            if not died:
                empty()
            if isinstance(error, DemoFailed) and died:
                raise DemoFailed(died) from error
            raise


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="The operator's main job, end to end.")
    parser.add_argument("--keep", action="store_true", help="leave everything up until Ctrl-C")
    parser.add_argument(
        "--cluster",
        choices=["current"],
        help="use the cluster of the current kubeconfig; what is installed there is removed at the end",
    )
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
            run = _run_on_current_cluster if arguments.cluster else _run_here
            run(screen, keep=arguments.keep)
            return 0
        except (DemoFailed, ProgramError, ControlPlaneError, KubectlError) as error:
            screen.say(f"FAILED: {error}", "bold red")
            return 1
        except KeyboardInterrupt:
            screen.say("Interrupted; everything is stopped.")
            return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
