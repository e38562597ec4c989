"""`bench.py index`: photos a second of the whole job against the bare forward passes of the same
networks.
"""

import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.bench.forward import inputs
from pipeline.bench.photos import photos_in, spread


def bench_index(
    photos: Path, model: str | None, device: str, count: int, jobs: int
) -> dict[str, Any]:
    """Half of the bare passes run before the job and half after, so that a drifting clock hits both
    alike.
    """
    from pipeline.base.images import load_image
    from pipeline.gallery.bind import bind
    from pipeline.gallery.roots import Roots
    from pipeline.gallery.update import update
    from pipeline.gallery.writer import writing
    from pipeline.recipes import load_encoder

    sample = spread(photos_in(photos, "--photos"), count)
    with tempfile.TemporaryDirectory() as scratch:
        copies, gallery = Path(scratch, "photos"), Path(scratch, "gallery")
        copies.mkdir()
        for i, path in enumerate(sample):
            shutil.copyfile(path, copies / f"{i:06d}{path.suffix}")
        roots = Roots.of(str(copies))
        binding = bind(gallery, model, roots)
        encode = load_encoder(binding.where, device, binding.precision)
        ready = [inputs(encode, load_image(path)) for path in sample[:: max(1, len(sample) // 48)]]

        def bare() -> float:
            began = time.perf_counter()
            with ThreadPoolExecutor(jobs) as pool:
                list(pool.map(lambda steps: [step() for step in steps], ready))
            return (time.perf_counter() - began) / len(ready)

        bare()
        before = bare()
        with writing(gallery, binding) as writer:
            began = time.perf_counter()
            update(roots.each, writer, lambda: encode, jobs, prune=False, quiet=True)
            job = (time.perf_counter() - began) / len(sample)
        after = bare()
    forward = (before + after) / 2
    return {
        "photos": len(sample),
        "photos_per_second": 1 / job,
        "bare_forward_photos_per_second": 1 / forward,
        "ratio": forward / job,
    }
