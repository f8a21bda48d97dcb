"""The cases of the Autobahn test suite against an echo server at HOST:PORT.

    python websocket_check.py HOST:PORT MAX_MESSAGE_BYTES

Needs kosoku 0.1.0, which holds the suite's own cases and runs them without Python 2. Prints the count of the cases and
each that failed; exit code 0 only if none did. Left out: compression, which is not offered (12 and 13), and the messages
that are larger than the server takes.
"""

import argparse
import asyncio
import sys

from kosoku import FailureError, run_fuzzingclient

COMPRESSION = ["12.*", "13.*"]
# The suite's messages of 256 KiB and more. Case 9.1.1 and 9.2.1 are exactly 64 KiB; 9.7 and 9.8 are at most that.
LARGE = [f"9.{group}.{size}" for group in (1, 2) for size in range(2, 7)] + [f"9.{group}.*" for group in (3, 4, 5, 6)]
LARGEST_TAKEN = 64 * 1024


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("max_message_bytes", type=int)
    arguments = parser.parse_args()
    if arguments.max_message_bytes != LARGEST_TAKEN:
        sys.exit(f"the cases are chosen for a server that takes {LARGEST_TAKEN} bytes")
    try:
        results = await run_fuzzingclient(arguments.address, None, COMPRESSION + LARGE, concurrency=4)
    except FailureError as failure:
        results = failure.results
    failed = [result for result in results if not result.passed]
    for result in failed:
        verdict = f"{result.behavior.value}, close {result.behavior_close.value}"
        print(f"{result.case_id}: {verdict}: {result.result} {result.result_close}")
    print(f"{len(results)} cases, {len(failed)} failed")
    sys.exit(bool(failed))


asyncio.run(main())
