"""All benchmarks, one after another: `make bench`, in ten minutes; `make bench BENCH=full` with what takes longer."""

import asyncio

from bench import batch_job, failover, growth, latency, options, scale, soak, throughput


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--full", action="store_true", help="growth, soak and the comparison with batch/v1 Job too")
    parser.add_argument("--jobs", type=int, default=100, help="jobs of one burst")
    parser.add_argument("--rounds", type=int, default=3, help="bursts of each kind")
    parser.add_argument("--rate", type=float, default=30, help="arrivals a second, for ten seconds")
    parser.add_argument("--finished", type=int, default=10_000, help="finished jobs of the restart")
    parser.add_argument("--failovers", type=int, default=2, help="failovers after SIGTERM, and after SIGKILL")
    parser.add_argument("--minutes", type=float, default=30, help="with --full: minutes of steady arrivals")
    given = parser.parse_args()
    results = [
        *asyncio.run(throughput.measure(given.jobs, given.rounds)),
        *asyncio.run(latency.measure(given.rate, 10, 50)),
        *asyncio.run(scale.measure(given.finished)),
        *asyncio.run(failover.measure(given.failovers, 5)),
    ]
    if given.full:
        results += [
            *asyncio.run(batch_job.measure(given.jobs, 5)),
            *asyncio.run(growth.measure((1000, 10_000, 50_000), 50, given.rounds)),
            *asyncio.run(soak.measure(given.minutes, 2)),
        ]
    options.report(given, "benchmarks", results)


if __name__ == "__main__":
    main()
