"""Prepare photos, weights and galleries for the other commands. `NAME --help` says what each
takes."""

from pipeline.commands.dispatch import run_subcommand

STEPS = {  # name -> its module, whose docstring says what it does
    "chance": "pipeline.commands.chance",
    "codebook": "pipeline.commands.codebook",
    "demo": "pipeline.datasets.demo",
    "padding": "pipeline.commands.padding",
    "partition": "pipeline.gallery.partition",
    "quantise": "pipeline.commands.quantise",
    "scenes": "pipeline.datasets.scenes",
    "split": "pipeline.datasets.split",
    "weights": "pipeline.datasets.torchvision_weights",
}


def main(argv: list[str] | None = None) -> int:
    return run_subcommand("scripts/prepare.py", __doc__, STEPS, argv)
