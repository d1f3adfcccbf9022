"""The C library's heap, kept from growing: threads come and go here, and pictures are large."""

import ctypes

ARENAS = 2
_M_ARENA_MAX = -8  # of glibc's malloc.h


def few_arenas() -> None:
    """Let all threads share two arenas, as MALLOC_ARENA_MAX=2 would; other C libraries have none to limit.

    glibc makes up to eight for each core and gives hardly anything back: what a worker keeps so grew
    for half an hour and more (docs/experiments.md, "A worker's memory").
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS)
