"""Fail where more places of the package repeat each other than are known and accepted.

pylint's `duplicate-code` finds runs of lines that two files share. Comments, docstrings, imports
and signatures do not count. What stands in n files counts as n * (n - 1) / 2 pairs.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_PAIRS = 10
MIN_LINES = 6
COMMAND = [
    *(sys.executable, "-m", "pylint", "--rcfile=", "--jobs=1", "--output-format=json"),
    *("--disable=all", "--enable=duplicate-code", f"--min-similarity-lines={MIN_LINES}"),
    *(f"--ignore-{what}=yes" for what in ("comments", "docstrings", "imports", "signatures")),
    "skdcec",
]


def main() -> int:
    """Print what is repeated; return 1 if that is too much."""
    result = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True)
    try:
        messages = [message["message"] for message in json.loads(result.stdout)]
    except ValueError:
        print(result.stdout, result.stderr, sep="\n")
        return 2
    pairs = 0
    for message in messages:
        _, *lines = message.splitlines()
        places = [line for line in lines if re.fullmatch(r"==\S+:\[\d+:\d+\]", line)]
        pairs += len(places) * (len(places) - 1) // 2
        print("\n".join([*places, *(f"    {line}" for line in lines[len(places) :])]), end="\n\n")
    print(f"{pairs} pairs of places share {MIN_LINES} lines or more; at most {MAX_PAIRS} may.")
    return int(pairs > MAX_PAIRS)


if __name__ == "__main__":
    sys.exit(main())
