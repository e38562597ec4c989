"""What growing costs: the bench on a few rows, and the tables that follow from its figures by the
stated formulas.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from pictures import picture, write_picture

from pipeline.bench import capacity
from pipeline.commands import bench
from pipeline.results import capacity as capacity_tables
from pipeline.results.capacity import first_look, plan

AT: dict[str, Any] = {
    "photos": 1000,
    "bytes_a_photo": 12_000.0,
    "memory_a_photo": 2300.0,
    "write_seconds_a_photo": 0.0005,
    "read_seconds": 0.02,
    "index_seconds": 0.01,
    "search": "tree",
    "search_seconds": 0.001,
    "candidates": 1000,
    "verify_seconds": 0.08,
}
FAR: dict[str, Any] = {
    "codes": 10_000_000,
    "index": "ivf",
    "cells": 2048,
    "probes": 100,
    "recall": 0.995,
    "least_recall": 0.98,
    "faiss_seconds": 0.01,
    "faiss_seconds_40": 0.005,
    "faiss_build_seconds": 50.0,
    "index_bytes": 1_000_000_000,
}
NEAR = {
    **FAR,
    "codes": 10_000,
    "index": "flat",
    "tree_seconds": 0.004,
    "tree_seconds_40": 0.001,
    "tree_build_seconds": 0.1,
    "tree_bytes": 2_700_000,
}


def test_the_bench(
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(capacity, "SIZES", (60, 90, 5000))
    for seed in range(3):
        write_picture(tmp_path / f"{seed}.png", picture(seed))
    capsys.readouterr()
    given = [
        "capacity",
        "--codes",
        "100",
        "--candidates",
        "80",
        "--photos",
        str(tmp_path),
        "--model",
        str(small_model),
        "--json",
    ]
    assert bench.main(given) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(at["photos"], at["candidates"]) for at in found["sizes"]] == [(60, 60), (90, 80)]
    assert found["encoded"] == 3
    for at in found["sizes"]:
        # 40 of a descriptor, 8 of its place, 4 of its score; SQLite's pages weigh on a few photos
        assert 500 * 52 < at["bytes_a_photo"] < 35_000
        assert (
            min(
                at[name]
                for name in (
                    "write_seconds_a_photo",
                    "read_seconds",
                    "search_seconds",
                    "verify_seconds",
                )
            )
            > 0
        )


def test_the_tables() -> None:
    row = {"command": "bench capacity", "sizes": [AT], "encode_seconds_a_photo": 0.36}
    assert (
        capacity_tables.capacity([row])[2]
        == "| 1,000 | 12,000 | 2,300 | 0.50 | 0.03 | 1.0 (ball tree) | 80 (1,000) |"
    )
    lines = first_look([{"command": "bench first_look", "kinds": 1000, "sizes": [NEAR, FAR]}])
    assert (
        lines[2]
        == "| 10,000 | 1,000 | 4.0 | 10.0 | 1.0 | 5.0 | all | .9950 (.9800) | 0.1 / 50.0 | 3 /"
        " 1,000 |"
    )
    assert (
        lines[3]
        == "| 10,000,000 | 1,000 | | 10.0 | | 5.0 | 100 of 2,048 cells | .9950 (.9800) | - / 50.0 |"
        " - / 1,000 |"
    )


def test_the_plan_follows_its_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity_tables, "PLANNED", (1_000_000, 40_000_000))
    rows = [
        {"command": "c", "sizes": [AT], "encode_seconds_a_photo": 0.36},
        {"command": "f", "sizes": [NEAR, FAR]},
    ]
    # 2,400 bytes a photo: 20 million fill three quarters of 64 GB; 0.36 s / 16 cores is 6.25 hours
    # a million; 25 us a photo to open
    assert plan(rows)[2:] == [
        "| 1,000,000 | 1 | 0.01 | 2.4 | 6.2 | 0.4 | 360 + 1 + 5 |",
        "| 40,000,000 | 2 | 0.48 | 48.0 | 125.0 | 8.3 | 360 + 20 + 5 |",
    ]
