"""What a process computes on: one thread a photo, and the device of its networks.

The libraries' own threads are switched off, so that ours never wait for each other. It is also what
makes a photo's numbers the same in an index, in a query and on a machine with more cores.
"""

import ctypes
import os
import sys

from pipeline.base.errors import UsageError

_ARENA_MAX = -8  # of glibc's mallopt


def device_of(choice: str) -> str:
    """ "auto", "cpu" or "cuda" -> "cpu" or "cuda". Raises UsageError for one that is not there."""
    from stages.trunk import pick_device

    try:
        return pick_device(choice)
    except ValueError as error:
        raise UsageError(str(error)) from None


def one_thread_each() -> None:
    """torch, OpenCV and numpy's BLAS compute on the calling thread alone, for the rest of the
    process; torch also where it is imported later.
    """
    import cv2
    import numpy  # noqa: F401 its BLAS has to be loaded to be found
    from threadpoolctl import threadpool_limits

    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)
    else:
        os.environ["OMP_NUM_THREADS"] = "1"  # what it begins with
    cv2.setNumThreads(1)
    threadpool_limits(1, "blas")


def share_heaps(heaps: int = 2) -> None:
    """Have all threads share so many of glibc's heaps, before they are started: decoded photos
    leave holes in every one of them, and a long run would hold what it does not use.
    """
    if limit := getattr(ctypes.CDLL(None), "mallopt", None):
        limit(_ARENA_MAX, heaps)
