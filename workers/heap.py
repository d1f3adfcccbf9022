"""glibc's heap, kept from growing: threads come and go here, and pictures are large."""

import ctypes

ARENAS = 2
LARGE_BYTES = 16 << 20
KEPT_FREE_BYTES = 64 << 20
_M_ARENA_MAX, _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -8, -3, -1  # of glibc's malloc.h


def steady_heap() -> None:
    """Let threads share two arenas, and large blocks go back to the system; for glibc alone.

    glibc makes up to eight arenas for each core and gives hardly anything back: what a worker keeps so grew
    for half an hour and more (docs/experiments.md, "A worker's memory"). And it soon puts blocks of up to
    32 MB on the heap, where the numbers on the way to a wide frame's map leave hundreds of MB in holes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_M_ARENA_MAX, ARENAS)
    mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
    mallopt(_M_TRIM_THRESHOLD, KEPT_FREE_BYTES)  # as it is by then where nothing is set
