"""Make one table or picture of the documentation. `NAME --help` says what a
study takes.
"""

from pipeline.commands.dispatch import run_subcommand

STUDIES = {  # name -> its module, whose docstring says what it does
    "attention": "pipeline.evaluate.studies.attention",
    "compare": "pipeline.evaluate.studies.compare",
    "alarm-lists": "pipeline.evaluate.studies.alarm_lists",
    "false-alarms": "pipeline.evaluate.studies.false_alarms",
    "gallery-size": "pipeline.evaluate.studies.gallery_size",
    "hashing": "pipeline.commands.hashing",
    "heatmap": "pipeline.commands.heatmap",
}


def main(argv: list[str] | None = None) -> int:
    return run_subcommand("scripts/study.py", __doc__, STUDIES, argv)
