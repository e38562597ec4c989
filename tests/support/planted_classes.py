"""Two classes that differ in colour, and the trainer on them at the smallest sizes that learn."""

from pathlib import Path

from pictures import picture, write_picture

from pipeline.commands import train

SMALL = (
    "--px",
    "32",
    "--epochs",
    "3",
    "--batch",
    "16",
    "--rate",
    "0.02",
    "--embed-side",
    "64",
    "--describe-side",
    "64",
    "--jobs",
    "2",
)


def write_classes(folder: Path, photos: int = 100, first: int = 0) -> Path:
    """`red` and `green`, half of the photos each, 40 px."""
    for i in range(first, first + photos):
        pixels = picture(i, 40, 40)
        pixels[..., i % 2] //= 8
        write_picture(folder / ("red" if i % 2 else "green") / f"{i}.png", pixels)
    return folder


def run(what: str, data: Path, out: Path, *more: object) -> int:
    """The trainer's exit code; `more` flags win over the small ones."""
    return train.main([what, "--data", str(data), "--out", str(out), *SMALL, *map(str, more)])


def trained(what: str, data: Path, out: Path, *more: object, code: int = 0) -> Path:
    """Where the trainer ended as it should."""
    assert run(what, data, out, *more) == code
    return out
