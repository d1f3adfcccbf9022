"""That threads which come and go leave no heap behind."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, re, sys, threading
from workers.heap import few_arenas

if sys.argv[1] == "few":
    few_arenas()
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
gate = threading.Barrier(12)

def work():
    gate.wait()
    libc.free(libc.malloc(100_000))
    gate.wait()

threads = [threading.Thread(target=work) for _ in range(12)]
[each.start() for each in threads]
[each.join() for each in threads]
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def arenas(how: str) -> int:
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=60
    )
    return told.stdout.count("<heap nr=")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's arenas are glibc's")
def test_twelve_threads_share_two_arenas() -> None:
    assert arenas("as it is") > 2
    assert arenas("few") <= 2
