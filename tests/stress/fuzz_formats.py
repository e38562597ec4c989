"""Decode mutated HEIC, AVIF, JPEG XL and camera RAW files in processes of their own: a file may be
refused or read, but may not end the process, hang it or take memory without end.

    python tests/stress/fuzz_formats.py --each 2000 [FILE ...]

FILE: photos of one's own that are mutated, too. Prints, per format, how many mutants were read,
refused, slow and deadly; the deadly ones are left in --keep.
"""

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tqdm

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
SLOW, DEADLY = 5, 60  # seconds
MEMORY = 4 << 30  # bytes of address space beyond what the process has


def seeds(given: list[Path]) -> dict[str, list[bytes]]:
    import imagecodecs
    from phone import heic, motion, raw, tiled_heic
    from planted import SMOOTH, save

    large = np.tile(SMOOTH, (26, 20, 1))  # 1040 x 1120 px
    tile = np.ascontiguousarray(large[:128, :128])
    found = {
        "HEIC": [heic(tile), motion(heic(SMOOTH)), tiled_heic(tile, 3, 2)],
        "AVIF": [save(SMOOTH, "AVIF"), save(tile, "AVIF", speed=10)],
        "JPEG XL": [imagecodecs.jpegxl_encode(SMOOTH), imagecodecs.jpegxl_encode(tile)],
        "camera RAW": [raw(tile), raw(large, save(large, "JPEG"), dng=False)],
    }
    from pipeline.base.formats import recognise
    from pipeline.base.tiff_pages import pages

    for path in given:
        data = path.read_bytes()
        name = recognise(data)
        if name == "TIFF" and pages(data).raw:
            name = "camera RAW"
        if name in found:
            found[name].append(data)
    return found


def mutants(seed: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    while True:
        bad = bytearray(seed)
        reach = len(bad) if rng.random() < 0.5 else min(len(bad), 1500)  # headers do the harm
        for at in rng.integers(0, reach, rng.integers(1, 12)):
            bad[at] = rng.choice([0, 1, 127, 128, 255, bad[at] ^ 1 << rng.integers(8)])
        if rng.random() < 0.2:
            start, stop = sorted(rng.integers(0, len(bad), 2))
            del bad[start:stop]
        yield bytes(bad)


def decoded_in_a_child(files: list[bytes], keep: Path, name: str) -> Counter[str]:
    """Each batch in a fork; where it dies, the mutant at work is kept and the rest goes on."""
    told: Counter[str] = Counter()
    at = 0
    while at < len(files):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            from pipeline.base.decode import decode
            from pipeline.base.errors import ImageError

            for data in files[at:]:
                signal.alarm(DEADLY)
                start = time.perf_counter()
                try:
                    decode(data, side=640)
                    word = b"r"
                except ImageError:
                    word = b"x"
                os.write(writer, b"s" if time.perf_counter() - start > SLOW else word)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as answers:
            words = answers.read()
        _, status = os.waitpid(child, 0)
        told.update({"r": "read", "x": "refused", "s": "slow"}[chr(word)] for word in words)
        at += len(words)
        if at < len(files):
            how = signal.Signals(status & 127).name if status & 127 else f"exit {status >> 8}"
            told[f"deadly ({how})"] += 1
            (keep / f"{name.replace(' ', '-')}-{at}-{time.time_ns()}").write_bytes(files[at])
            at += 1
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=2000, help="mutants of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=None, help="where deadly mutants are left")
    parser.add_argument("files", nargs="*", type=Path)
    given = parser.parse_args()
    keep = given.keep or Path(tempfile.mkdtemp(prefix="deadly-"))
    keep.mkdir(exist_ok=True, parents=True)
    rng = np.random.default_rng(given.seed)
    deaths = 0
    for name, sources in seeds(given.files).items():
        told: Counter[str] = Counter()
        streams = [mutants(source, rng) for source in sources]
        for start in tqdm.trange(0, given.each, 100, desc=name):
            count = min(100, given.each - start)
            batch = [next(streams[i % len(streams)]) for i in range(count)]
            told += decoded_in_a_child(batch, keep, name)
        deaths += sum(count for word, count in told.items() if word.startswith("deadly"))
        print(f"{name}: {', '.join(f'{count} {word}' for word, count in sorted(told.items()))}")
    print(f"deadly mutants in {keep}" if deaths else "none was deadly")
    return 1 if deaths else 0


if __name__ == "__main__":
    sys.exit(main())
