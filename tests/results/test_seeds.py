"""What the papers print beside what came out here: which rows go where, and what attention adds."""

import re

import pytest

from pipeline.results import seeds

Rows = list[dict[str, object]]


def code_row(recipe: str, bits: int, value: float, seed: int = 0, **more: object) -> dict:
    command = f"python scripts/study.py hashing {recipe} --seed {seed}"
    row = {"recipe": recipe, "bits": bits, "mAP": value, "seed": seed, "command": command}
    return {**row, "protocol": "CIFAR-10 C", "model": {"name": "t"}, **more}


def cells(lines: list[str], first: str) -> list[str]:
    """Of the line that begins so."""
    (line,) = [line for line in lines if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_attention_is_compared_by_seed() -> None:
    rows = [
        *(code_row("am_vggh", 48, value, seed) for seed, value in enumerate((0.80, 0.90, 0.7))),
        *(code_row("vggh", 48, value, seed) for seed, value in enumerate((0.75, 0.88))),
        code_row("vggh", 48, 0.5, protocol="CIFAR-10 A"),
        code_row("dpsh", 12, 0.3),
    ]
    lines = seeds.hash_codes(rows)
    assert cells(lines, "mAP") == ["published", "CIFAR-10 A, t", "CIFAR-10 C, t"]
    assert cells(lines, "`am_vggh`, 48 bits") == [".853", "", ".800 [.700, .900]"]
    assert cells(lines, "gain by attention, 48 bits") == ["+.012", "", "+.035 [+.020, +.050]"]
    assert cells(lines, "gain by attention, 12 bits") == ["+.021", "", ""]
    assert not any(line.startswith("| `dpsh`, 12 bits") for line in lines)
    shown = [line for line in lines if line.startswith("python")]
    assert len(shown) == 3  # of the first seed alone
    assert not any("--seed 1" in line for line in shown)


def test_parts_of_the_asymmetric_codes_stand_together() -> None:
    rows = [
        code_row("adsh", 12, 0.5),
        code_row("adsh_attention without attention", 24, 0.625),
        code_row("vggh", 12, 0.75),
    ]
    lines = seeds.asymmetric_codes(rows)
    assert cells(lines, "`adsh`, 12 bits") == ["not known", ".500"]
    assert cells(lines, "`adsh_attention without attention`, 24 bits") == ["not known", ".625"]
    assert not any("vggh" in line for line in lines)


def test_two_looks_names_the_teacher_and_the_seeds() -> None:
    accuracies = [
        {"label": f"tuned, seed {seed}", "test": test, "command": f"c{seed}", **more}
        for seed, test, more in ((0, 0.97, {"teacher_test": 0.995}), (1, 0.99, {}))
    ]
    cell = {"label": "net, pca", "queries": 14, "command": "d"}
    table2 = {"multiples": [2, 4], "published": [1, 52.24], "mean_inliers_with_self": [1, 51.87]}
    found = {"precision@10": 0.5, "coarse_precision@10": 0.25}
    other = {**cell, **found, "label": "net, RootSIFT"}
    lines = seeds.two_looks(accuracies, [{**cell, **found}, other], [{**table2, "command": "e"}])
    assert cells(lines, "accuracy on ten classes") == [
        "98.76 %",
        "98.00 % [97.00, 99.00]",
        "Imagenette, tuned, random seeds: 2; its teacher 99.50 %",
    ]
    assert cells(lines, "Table 1, pca, first look")[:2] == [".58", "precision@10 .250"]
    assert cells(lines, "Table 1, pca, both looks")[:2] == [".69", "precision@10 .500"]
    assert cells(lines, "Table 2, candidates 4 x k, mean inliers")[:2] == ["52.2", "51.9"]
    assert not any("RootSIFT" in line for line in lines)


@pytest.mark.parametrize("recipe", ["resnet50", "resnet50_gam"])
def test_networks_stand_beside_their_published_figures(recipe: str) -> None:
    row = {"recipe": recipe, "label": f"corel, {recipe}, seed 0", "px": 128, "epochs": 5}
    row |= {"coarse_hit@1": 0.5, "coarse_hit@10": 0.75, "parameters": 1_000_000, "ms_per_image": 1}
    (line,) = [line for line in seeds.attention_networks([row]) if line.startswith(f"| {recipe} ")]
    assert re.search(r"\| \.7\d{3}, \.9\d{3}; \d+\.\d million \| \.500, \.750; 1\.0 million", line)
    for ours in ("with a wider head", "of 128 components"):
        row["label"] = f"corel, {recipe} {ours}, seed 0"
        (line,) = [line for line in seeds.attention_networks([row]) if ours in line]
        assert "| none: not in the paper | .500, " in line
