"""Kills lose nothing: at every step of a commit and a merge in turn, and at random moments of whole
runs.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

from pictures import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
# a process that dies, unlike a machine, loses nothing that a disk in memory keeps
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def test_any_call_of_a_writer_can_be_its_last() -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        command = [sys.executable, str(ROOT / "tests/support/killed_steps.py"), folder]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["kills"] > 100
    assert found["acknowledged"] == 4  # in the last run, which lived
    # photos in no segment of parts, after each step
    assert found["missing"] == [4, 4, 4, 4, 0]
    for step in ("write", "fsync", "replace"):  # kills did fall between these
        assert {f"write_whole c_call {step}", f"write_whole c_return {step}"} <= set(
            found["places"]
        )
    assert {
        "_merge c_return execute",
        "insert c_return execute",  # of a segment of parts
        "merge c_return executemany",  # of segments
        "unlink c_return unlink",
        "transaction c_return execute",
    } <= set(found["places"])


def test_kills_at_random_moments() -> None:
    command = [
        sys.executable,
        str(ROOT / "tests/stress/kill_index.py"),
        "--kills",
        "4",
        "--photos",
        "8",
        "--cold",
        "0",
    ]
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        done = subprocess.run(
            command,
            env={**ENVIRONMENT, "TMPDIR": folder},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    told = re.fullmatch(
        r"4 kills \(\d+ amid a commit\), (\d+) galleries completed, (\d+) acknowledged photos"
        r" checked, (.*)\n",
        done.stdout,
    )
    assert told is not None, done.stdout
    assert int(told[1]) >= 1
    assert told[3] == "0 lost, 0 unopenable, 0 failed runs, rankings equal, votes equal"
