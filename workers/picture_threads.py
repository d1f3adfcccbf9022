"""Threads that work on pictures, the same ones for as long as the process lives.

OpenCV keeps nearly a kilobyte for each thread that ever called it, until the process ends (opencv/opencv
issues 9745 and 19727): threads of one range each cost a worker half a megabyte a minute.
"""

import os
from concurrent.futures import ThreadPoolExecutor

_DECODERS = min(4, os.cpu_count() or 1)
_KEEPERS = 8  # evidence mostly waits for the disk, which makes eight files safe in the time of one


def decoding_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode")


def evidence_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_KEEPERS, thread_name_prefix="evidence")
