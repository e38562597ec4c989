"""Train the two looks: `embedding` teaches the trunk to tell classes apart, `delf` teaches it where to look.

Both run the same on two CPU cores and on a GPU, log a line an epoch to log.jsonl and continue where they were killed.
DATA folders hold a folder a class. `delf` starts from an embedding, trains the attention on the frozen trunk (Noh et al. 2017,
section 3.3), fits both PCAs and the acceptance, and writes a model that `--model` takes.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.flags import Parser, UsageError, at_least_one, finish

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

CHECKPOINT_SECONDS = 120


def train_embedding(args: argparse.Namespace) -> int:
    """Cross-entropy with label smoothing over the union of the folders' classes."""
    import torch

    from pipeline.training import accuracy, read_folders
    from stages.trunk import build_resnet, pick_device, to_tensor

    device = pick_device(args.device)
    train, valid = read_folders(args.data, round(args.px * 1.3))
    torch.manual_seed(args.seed)
    model = build_resnet("resnet18", len(train.classes))
    if args.start:
        model.load_state_dict(read_start(args.start, head=False), strict=False)
    model = model.to(device).train()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 5e-4},
        {"params": [p for p in model.parameters() if p.ndim <= 1]},
    ]
    optimizer = torch.optim.SGD(groups, lr=args.rate, momentum=0.9, nesterov=True)

    def loss(images: Any, labels: "Tensor", step: int) -> "Tensor":
        with torch.autocast(device, torch.bfloat16, enabled=args.bf16):
            return torch.nn.functional.cross_entropy(model(to_tensor(images, device)), labels.to(device), label_smoothing=0.1)

    learn(args, model, optimizer, loss, lambda: accuracy(model, valid, args.px), train)
    write_start(args.out, model)
    return 0


def train_delf(args: argparse.Namespace) -> int:
    """Attention on the frozen trunk, by the same classes: photos at random scales, the score-weighted sum of unit descriptors."""
    import numpy as np
    import torch
    from torch import Tensor, nn

    from pipeline.fit import fit, look
    from pipeline.models import Settings, write_model
    from pipeline.training import read_folders
    from stages.delf import Attention
    from stages.trunk import load_resnet, pick_device, third_map, to_tensor

    if args.start is None:
        raise UsageError("--start: want the folder of a trained embedding, got none; run `python scripts/train.py embedding ...` first")
    device = pick_device(args.device)
    train, valid = read_folders(args.data, round(args.px * 1.3))
    weights = {name: tensor.numpy() for name, tensor in read_start(args.start, head=True).items()}
    trunk = load_resnet("resnet18", weights, device)
    torch.manual_seed(args.seed)
    hidden, norm, out = nn.Conv2d(256, 512, 1), nn.BatchNorm2d(512), nn.Conv2d(512, 1, 1)
    score = nn.Sequential(hidden, norm, nn.ReLU(), out, nn.Softplus())
    model = nn.ModuleDict({"score": score, "classify": nn.Linear(256, len(train.classes))}).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.rate, momentum=0.9, nesterov=True, weight_decay=1e-4)

    def logits(images: Any, scale: float) -> "Tensor":
        x = to_tensor(images, device)
        with torch.inference_mode():
            side = max(32, round(args.px * scale))
            cells = third_map(trunk, nn.functional.interpolate(x, size=(side, side), mode="bilinear", antialias=True))
        cells = cells.clone()  # out of inference mode, so that gradients of the head can flow
        pooled = (model["score"](cells) * nn.functional.normalize(cells, dim=1)).sum((2, 3))
        answer: Tensor = model["classify"](nn.functional.normalize(pooled, dim=1) * 16)
        return answer

    def loss(images: Any, labels: "Tensor", step: int) -> "Tensor":
        return nn.functional.cross_entropy(
            logits(images, float(np.random.default_rng([args.seed, step]).uniform(0.35, 1))), labels.to(device), label_smoothing=0.1
        )

    def validate() -> float:
        from pipeline.training import hits

        model.eval()
        with torch.inference_mode():
            share = hits(lambda images: logits(images, 1.0), valid, args.px)
        model.train()
        return share

    learn(args, model, optimizer, loss, validate, train)
    score.cpu()
    with torch.no_grad():  # fold the batch norm into the convolution before it
        gain = norm.weight / torch.sqrt(norm.get_buffer("running_var") + norm.eps)
        attention = {
            "hidden": (hidden.weight[:, :, 0, 0] * gain[:, None]).numpy(),
            "hidden_bias": ((hidden.get_parameter("bias") - norm.get_buffer("running_mean")) * gain + norm.bias).numpy(),
            "out": out.weight[0, :, 0, 0].numpy(),
            "out_bias": out.get_parameter("bias").numpy(),
        }
    settings = Settings()
    fitted, accept = fit(look(args.data, weights, settings, Attention(**attention), args.jobs), args.seed, args.jobs)
    arrays = {f"trunk.{name}": array.astype(np.float16) for name, array in weights.items()}
    arrays |= {f"attention.{name}": array.astype(np.float32) for name, array in attention.items()} | fitted
    card = {"accept": accept, "attention": "trained", "classes": list(train.classes), "command": " ".join(["python", *sys.argv]), "seed": args.seed}
    if args.card is not None:
        card |= json.loads(args.card.read_text("utf-8"))
    write_model(args.out, arrays, settings, card, args.mend or card["command"])
    print(f"{args.out}: {settings.trunk} with attention; use it with `--model {args.out}`")
    return 0


def learn(args: argparse.Namespace, model: "nn.Module", optimizer: "torch.optim.Optimizer", loss: Any, validate: Any, train: Any) -> None:
    """The loop both share: one cycle of the learning rate, a checkpoint every two minutes, a line an epoch."""
    import torch

    from pipeline.training import batches, learning_rate, load_checkpoint, save_checkpoint

    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / "checkpoint.safetensors"
    step = load_checkpoint(checkpoint, model, optimizer) if checkpoint.exists() else 0
    epoch_steps = len(train.labels) // args.batch
    total = epoch_steps * args.epochs
    print(f"{len(train.labels)} photos, {len(train.classes)} classes; step {step} of {total}", file=sys.stderr, flush=True)
    saved = began = time.monotonic()
    with (args.out / "log.jsonl").open("a", buffering=1) as log:
        while step < total:
            epoch, losses = step // epoch_steps, []
            for images, labels in batches(train, args.batch, args.px, args.seed, epoch, step % epoch_steps, args.smallest):
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step / total, args.rate)
                value = loss(images, torch.from_numpy(labels), step)
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                optimizer.step()
                step += 1
                losses.append(value.item())
                if step % 50 == 0:
                    print(
                        f"step {step}/{total} loss {statistics.fmean(losses[-50:]):.3f} {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True
                    )
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    save_checkpoint(checkpoint, model, optimizer, step)
                    saved = time.monotonic()
            line = {
                "epoch": epoch + 1,
                "step": step,
                "loss": statistics.fmean(losses),
                "validation": validate(),
                "seconds": round(time.monotonic() - began),
            }
            log.write(json.dumps(line) + "\n")
            print(line, file=sys.stderr, flush=True)
            save_checkpoint(checkpoint, model, optimizer, step)


def read_start(folder: Path, *, head: bool) -> "dict[str, Tensor]":
    """An embedding's weights as float32: those of a finished run, else of its last checkpoint."""
    from safetensors.torch import load_file

    for name, prefix in (("weights.safetensors", ""), ("checkpoint.safetensors", "model.")):
        if (folder / name).is_file():
            state = {key.removeprefix(prefix): tensor for key, tensor in load_file(folder / name).items() if key.startswith(prefix)}
            wanted = {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked") and (head or not key.startswith("fc."))}
            return {key: tensor.float() for key, tensor in wanted.items()}
    raise UsageError(f"--start {folder}: want weights.safetensors or checkpoint.safetensors, got neither")


def write_start(folder: Path, model: "nn.Module") -> None:
    from safetensors.torch import save_file

    state = {key: tensor.half().contiguous() for key, tensor in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    save_file(state, folder / "weights.safetensors")


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n")[1])
    parser.add_argument("what", choices=("embedding", "delf"))
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="DIR", help="folders of classes; their classes are joined")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where log, checkpoint and result go")
    parser.add_argument("--start", type=Path, metavar="DIR", help="the run to start from")
    parser.add_argument("--px", type=at_least_one, default=128, metavar="N", help="side of the training crops (default: 128)")
    parser.add_argument("--epochs", type=at_least_one, default=5, metavar="N")
    parser.add_argument("--batch", type=at_least_one, default=64, metavar="N")
    parser.add_argument("--rate", type=float, default=0.1, help="peak learning rate (default: 0.1)")
    parser.add_argument("--smallest", type=float, default=0.3, help="smallest crop, as a share of the photo's area (default: 0.3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 arithmetic, where the processor has it")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--jobs", type=at_least_one, default=os.cpu_count() or 1, metavar="N", help="threads of the fitting (default: all cores)")
    parser.add_argument("--card", type=Path, metavar="FILE.json", help="entries to add to the model's card: data, figures")
    parser.add_argument("--mend", help="the command that the card gives for a damaged file (default: this one)")
    args = parser.parse_args(argv)
    return finish("train", lambda: train_embedding(args) if args.what == "embedding" else train_delf(args))


if __name__ == "__main__":
    sys.exit(main())
