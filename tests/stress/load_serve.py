"""Many clients at once against `pipeline.serve`: is every answer the command line's, is nothing
refused but by a full queue, is memory flat?

    python -m pipeline.run queries/*.jpg --gallery gallery --json > answers.jsonl
    python -m pipeline.serve --gallery gallery &
    python tests/stress/load_serve.py http://127.0.0.1:8000 --answers answers.jsonl --pid $!

Clients ask again after Retry-After. Exits 1 when an answer differs, or anything but 200 and 503
came back.
"""

import argparse
import json
import statistics
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.base.values import at_least_one, positive
from pipeline.cli import Parser, finish

NOT_COMPARED = ("query", "seconds")  # a photo that was sent has no path


def resident(pid: int) -> float:
    """MB that a process holds in memory."""
    line = next(
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    )
    return int(line.split()[1]) / 1024


def ask(address: str, photo: bytes, k: int) -> tuple[int, str, float]:
    """Status, body or what went wrong, seconds to wait before the next."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{address}/search?k={k}", photo), timeout=300
        ) as answer:
            return answer.status, answer.read().decode(), 0.0
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), float(error.headers.get("Retry-After", 0))
    except OSError as error:
        return 0, str(error), 1.0


def read_answers(path: Path) -> list[tuple[bytes, dict[str, object]]]:
    """The photos that `pipeline.run --json` was asked with, and what it answered."""
    try:
        answers = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return [(Path(answer["query"]).read_bytes(), answer) for answer in answers]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--answers {path}: expected lines of `pipeline.run QUERY... --json`, got {error}"
        ) from None


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="python tests/stress/load_serve.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("address", help="of the server, such as http://127.0.0.1:8000")
    parser.add_argument(
        "--answers",
        type=Path,
        required=True,
        metavar="FILE.jsonl",
        help="what `pipeline.run --json` says of the photos to ask with",
    )
    parser.add_argument("--clients", type=at_least_one, default=16, metavar="N")
    parser.add_argument("--seconds", type=positive, default=120, metavar="S")
    parser.add_argument(
        "--pid",
        type=at_least_one,
        metavar="N",
        help="the server's process: its memory is read every ten seconds",
    )
    args = parser.parse_args(argv)

    def job() -> int:
        asked = read_answers(args.answers)
        begun = time.monotonic()
        statuses: Counter[int] = Counter()
        took: list[float] = []
        wrong: list[str] = []
        memory: list[int] = []

        def client(number: int) -> None:
            turn = number
            while time.monotonic() < begun + args.seconds:
                photo, wanted = asked[turn % len(asked)]
                began = time.monotonic()
                status, body, pause = ask(args.address.rstrip("/"), photo, int(str(wanted["k"])))
                statuses[status] += 1
                if status == 200:
                    took.append(time.monotonic() - began)
                    got = json.loads(body)
                    if any(got[key] != wanted[key] for key in wanted if key not in NOT_COMPARED):
                        wrong.append(f"{wanted['query']!a}: expected {wanted!a}, got {got!a}")
                elif status != 503:
                    wrong.append(f"{status}: {body}")
                turn += status == 200
                time.sleep(pause)

        threads = [
            threading.Thread(target=client, args=(number,)) for number in range(args.clients)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            if args.pid and time.monotonic() - begun > 10 * len(memory):
                memory.append(round(resident(args.pid)))
            time.sleep(0.1)
        for line in wrong[:10]:
            print(f"load_serve: {line}", file=sys.stderr)
        seconds = time.monotonic() - begun
        said = {
            "clients": args.clients,
            "seconds": round(seconds, 1),
            "answered": statuses[200],
            "refused_503": statuses[503],
            "wrong": len(wrong),
        }
        median, slowest = (
            (round(statistics.median(took), 2), round(max(took), 2)) if took else (None, None)
        )
        print(
            json.dumps(
                {
                    **said,
                    "a_second": round(statuses[200] / seconds, 2),
                    "median_s": median,
                    "slowest_s": slowest,
                    "memory_mb": memory,
                }
            )
        )
        return 1 if wrong else 0

    return finish("load_serve", job)


if __name__ == "__main__":
    sys.exit(main())
