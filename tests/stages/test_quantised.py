"""Networks in whole numbers: what they say without torch is what torch says, but for rounding."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from pictures import picture
from planted_fine import planted_network
from planted_quantised import make_quantised

from pipeline.gallery.encode import side_read
from pipeline.model.card import DEFAULT, find_model
from pipeline.model.quantised import file_of
from pipeline.model.weights import Model, open_model
from pipeline.recipes import encode, load_encoder
from pipeline.training.quantise import embed_graph, fine_graph
from stages.embed import Embed
from stages.fine import padded
from stages.fine_network import keypoints
from stages.fine_quantised import FineQuantised
from stages.quantised import EmbedQuantised, Network, load_quantised, normalised_photo
from stages.records import Float32, Image
from stages.trunk import load_resnet, to_tensor

MOST, LEAST, BORDER = 200, 0.02, 4


def network_of(graph: "onnx.ModelProto") -> Network:
    return Network(lambda: load_quantised(graph.SerializeToString()))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("quantised")
    return open_model(make_quantised(folder / "model", folder / "photos"))


def part(model: Model, name: str) -> dict[str, Float32]:
    return {key: np.asarray(each, np.float32) for key, each in model.part(name).items()}


def test_a_photo_is_normalised_as_torch_has_it() -> None:
    pixels = picture(1)
    wanted = to_tensor(pixels).numpy()
    assert np.abs(normalised_photo(pixels) - wanted).max() < 1e-6


@pytest.mark.parametrize("shape", [(160, 128), (96, 208), (16, 16)])
def test_unrounded_the_fine_network_is_torchs(model: Model, shape: tuple[int, int]) -> None:
    weights = part(model, "fine")
    plain = FineQuantised(network_of(fine_graph(weights)), weights)
    pixels = padded(picture(3, *shape))
    ours = plain.keypoints(pixels, MOST, LEAST, BORDER)
    wanted = keypoints(planted_network(), to_tensor(pixels), MOST, LEAST, BORDER).numpy()
    assert len(wanted) > 20 or min(shape) == 16
    assert ours.shape == wanted.shape
    assert np.abs(ours - wanted).max(initial=0) < 1e-3


@pytest.mark.parametrize("shape", [(160, 120), (300, 40)])
def test_unrounded_the_trunk_is_torchs(model: Model, shape: tuple[int, int]) -> None:
    weights, image = part(model, "trunk"), Image(picture(4, *shape))
    plain = EmbedQuantised(network_of(embed_graph(weights)), 64)
    wanted = Embed(load_resnet("resnet18", weights), 64)(image)
    np.testing.assert_allclose(plain(image), wanted, rtol=2e-3, atol=1e-3)


def test_in_whole_numbers_a_photo_is_still_itself(model: Model) -> None:
    table, plain = encode(open_model(model.folder, "int8"), "cpu"), encode(model, "cpu")
    nearest, found = [], 0.0
    for seed in range(6):
        image = Image(picture(seed))
        (one, seen), (other, wanted) = (
            each({"image": image}, "embedding", "features") for each in (table, plain)
        )
        nearest.append(float(one @ other))
        apart = np.square(seen.xy[:, None] - wanted.xy[None]).sum(2)
        found += float((apart.min(1) < 1).mean()) / 6
    assert min(nearest) > 0.98
    assert found > 0.6
    assert (side_read(table), side_read(plain)) == (128, 0)


def test_the_same_photo_gives_the_same_bytes(model: Model) -> None:
    image, rows = Image(picture(7)), []
    for _ in range(2):
        table = encode.__wrapped__(open_model(model.folder, "int8"), "cpu")
        pooled, features = table({"image": image}, "pooled", "features")
        rows.append((pooled.tobytes(), features.xy.tobytes(), features.descriptor.tobytes()))
    assert rows[0] == rows[1]


def test_no_sum_of_two_products_leaves_16_bits(model: Model) -> None:
    """So that processors that add pairs of products do not saturate."""
    for network in ("embed", "fine"):
        graph = onnx.load(model.folder / file_of(network)).graph
        weights = [numpy_helper.to_array(each) for each in graph.initializer if each.data_type == 3]
        large = [each for each in weights if each.ndim == 4]
        assert len(large) > 10
        assert max(int(np.abs(each.astype(int)).max()) for each in large) <= 64
        assert 64 * 255 * 2 < 2**15


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a network that ONNX Runtime refuses: "):
        load_quantised(b"\x08\x09 no network")


def test_a_photo_of_one_colour_has_no_fine_features() -> None:
    table = load_encoder(DEFAULT, "cpu", "int8")
    for pixels in (np.full((120, 160, 3), 77, np.uint8), np.zeros((1, 1, 3), np.uint8)):
        pooled, features = table({"image": Image(pixels)}, "pooled", "features")
        assert np.isfinite(pooled).all()
        assert len(features) == 0


def test_torch_is_not_needed(model: Model, tmp_path: Path) -> None:
    program = f"""
import sys
from pipeline.recipes import load_encoder
from pipeline.base.images import decode
import numpy as np
from stages.records import Image
encode = load_encoder({str(model.folder)!r}, "auto", "int8")
encode({{"image": Image(np.zeros((50, 60, 3), np.uint8))}}, "pca", "features")
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    if not torch.cuda.is_available():
        assert done.stdout == "False\n"


SUMS = """
import hashlib, sys
import numpy as np
from stages.quantised import PHOTO, load_quantised

photo = np.random.default_rng(0).standard_normal((1, 3, 96, 96)).astype(np.float32)
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        network = load_quantised(file.read())
    for array in network.run(None, {PHOTO: photo}):
        print(hashlib.sha256(array.tobytes()).hexdigest())
"""


@pytest.mark.skipif(
    shutil.which("qemu-x86_64") is None, reason="needs qemu-x86_64, of the package qemu-user"
)
@pytest.mark.parametrize("processor", ["Haswell", "Nehalem"])
def test_processors_without_vnni_compute_the_same_bytes(processor: str) -> None:
    """AVX2 adds products in pairs, SSE4 likewise."""
    files = [str(find_model(DEFAULT) / file_of(network)) for network in ("embed", "fine")]
    here = [sys.executable, "-c", SUMS, *files]
    other = ["qemu-x86_64", "-cpu", processor, *here]
    native, emulated = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for command in (here, other)
    )
    assert len(native.split()) == 6
    assert emulated == native
