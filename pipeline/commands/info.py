"""Say what a gallery is: how many photos, of which folder, made by what, how large, and whether all
is well.

Nothing is written, and no photo is read. `check` reads every byte.
"""

import json
import sys

from pipeline.base.names import printable
from pipeline.cli import Parser, add_gallery, finish


def make_parser() -> Parser:
    parser = Parser(
        prog="two-look info",
        description=__doc__.split("\n\n")[0],
        epilog=__doc__.split("\n\n")[1],
    )
    add_gallery(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        from pipeline.gallery.about import about
        from pipeline.recipes import second_look

        found = about(args.gallery, second_look())
        if args.json:
            print(json.dumps(found.to_json()))
            return 0
        chance = "its own, measured on its photos"
        if found.chance is None:
            chance = "none: a fixed count accepts, or the recipe compares codes"
        elif found.chance != "gallery":
            chance = f"the model's: {found.chance_reason}"
        parts = "none; `two-look parts` makes one where the model has a codebook"
        if found.parts is not None:
            lacking = found.parts["photos_lacking"]
            parts = "all photos" if not lacking else f"lacks {lacking}; run `two-look parts`"
        last = "none" if not found.errors else f"{found.errors:,}, listed in {found.errors_file}"
        roots = [
            each["path"] + ("" if each["there"] else " (not there now)") for each in found.roots
        ]
        lines = {
            "photos": f"{found.photos:,}, {found.different:,} different",
            "folders": ", ".join(roots),
            "model": f"{found.model} ({found.identity[:12]}), {found.precision}",
            "recipe": found.recipe,
            "chance model": chance,
            "index of parts": parts,
            "shards": f"{found.shards:,}",
            "on disk": ", ".join(f"{part} {megabytes(size)}" for part, size in found.bytes.items()),
            "changed": found.changed,
            "not readable": last,
        }
        for name, value in lines.items():
            print(f"{name:15s} {printable(value)}")
        return 0

    return finish("info", job)


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
