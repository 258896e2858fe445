"""All benchmarks, one after another: `make bench`."""

import asyncio

from bench import failover, latency, options, scale, throughput


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="jobs of one burst")
    parser.add_argument("--rounds", type=int, default=3, help="bursts of each kind")
    parser.add_argument("--rate", type=float, default=30, help="arrivals a second, for ten seconds")
    parser.add_argument("--finished", type=int, default=2000, help="finished jobs of the restart")
    parser.add_argument("--failovers", type=int, default=2, help="failovers after SIGTERM, and after SIGKILL")
    given = parser.parse_args()
    results = [
        *asyncio.run(throughput.measure(given.jobs, given.rounds)),
        *asyncio.run(latency.measure(given.rate, 10, 50)),
        *asyncio.run(scale.measure(given.finished)),
        *asyncio.run(failover.measure(given.failovers, 5)),
    ]
    options.report(given, "benchmarks", results)


if __name__ == "__main__":
    main()
