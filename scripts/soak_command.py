"""Owns the command scripts/soak: load an inference service that is really started, and say whether it held."""

import argparse
import asyncio
import json
import sys

from hang_ups import run_hang_ups
from overload import run_overload
from packages import StackError
from soak_run import run_soak
from started_service import Service, started
from verdict import Report

ABOUT = "Load an inference service that is really started, and say whether it held: everybody answered or cleanly refused, nothing left behind."
EXAMPLES = """\
examples:
  scripts/soak                              30 minutes at a full queue: cancels, disconnects, odd and oversized input, model swaps
  scripts/soak --minutes 4 --swap-every 8 --parallel 4 --waiting 8     as scripts/test runs it
  scripts/soak overload --seconds 150       ten times what the service can do (four rounds)
  scripts/soak hang-ups --count 1000        callers who go away at random moments
  scripts/soak --json > soak.json           figures for a program; progress goes to stderr

The service is started for this alone, with its own settings' model, and stopped at the end. Exit status: 0 all held, 1 something
did not, 2 wrong usage.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=ABOUT, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", choices=["soak", "overload", "hang-ups"], default="soak", help="default: soak")
    parser.add_argument("--minutes", type=float, default=30, help="how long the soak loads the service (default: 30)")
    parser.add_argument("--swap-every", type=float, default=45, metavar="S", help="seconds between the soak's model swaps (default: 45)")
    parser.add_argument("--seconds", type=float, default=60, help="how long a round of the overload is measured (default: 60)")
    parser.add_argument("--turns", type=int, default=1, help="how often the overload's four rounds are run (default: 1)")
    parser.add_argument("--count", type=int, default=1000, help="callers who hang up (default: 1000)")
    parser.add_argument("--parallel", type=int, default=8, help="answers that the service makes at once (default: 8)")
    parser.add_argument("--waiting", type=int, default=16, help="requests that may wait (default: 16)")
    parser.add_argument("--deadline", type=float, default=60, metavar="S", help="longest time for one request (default: 60)")
    parser.add_argument("--threads", type=int, help="the service's threads (default: the machine's cores)")
    parser.add_argument("--context-tokens", type=int, default=12_288, help="tokens of all prompts and answers at work (default: 12288)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if min(options.minutes, options.swap_every, options.seconds, options.turns, options.count, options.deadline) <= 0:
        parser.error("every length and count must be more than 0")
    try:
        with started(parallel=options.parallel, waiting=options.waiting, deadline_s=options.deadline, threads=options.threads, context_tokens=options.context_tokens) as service:
            report = asyncio.run(_run(options, service))
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(report.as_json(), indent=2, ensure_ascii=False) if options.json else report.as_text())
    return 0 if report.held else 1


async def _run(options: argparse.Namespace, service: Service) -> Report:
    if options.run == "soak":
        return await run_soak(service, minutes=options.minutes, swap_every_s=options.swap_every)
    async with service.client() as client:
        if options.run == "overload":
            return await run_overload(client, parallel=service.parallel, deadline_s=service.deadline_s, seconds=options.seconds, turns=options.turns)
        return await run_hang_ups(client, count=options.count, crowd=2 * service.parallel, deadline_s=service.deadline_s)


if __name__ == "__main__":
    sys.exit(main())
