"""That neither threads which come and go nor large blocks leave holes in the heap."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap is glibc's")

LIBC = """
import ctypes, re, sys, threading
from workers.heap import steady_heap

if sys.argv[1] == "steady":
    steady_heap()
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
"""
THREADS = """
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
LARGE_BLOCKS = """
def filled(count, size=20_000_000):
    blocks = [libc.malloc(size) for _ in range(count)]
    [ctypes.memset(block, 1, size) for block in blocks]
    return blocks

libc.free(filled(1, 30_000_000)[0])  # from now on glibc takes blocks of 20 MB for small ones
large = []
for _ in range(10):
    large += filled(1)
    filled(1, 1_000_000)  # what stays between them
[libc.free(block) for block in large]
print(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read()).group(1))
"""


def said_by(program: str, how: str) -> str:
    told = subprocess.run(
        [sys.executable, "-c", LIBC + program, how], capture_output=True, text=True, check=True, timeout=60
    )
    return told.stdout


def arenas(how: str) -> int:
    return said_by(THREADS, how).count("<heap nr=")


def resident_kb(how: str) -> int:
    return int(said_by(LARGE_BLOCKS, how))


def test_twelve_threads_share_two_arenas() -> None:
    assert arenas("as it is") > 2
    assert arenas("steady") <= 2


def test_large_blocks_go_back_to_the_system() -> None:
    assert resident_kb("as it is") > 150_000
    assert resident_kb("steady") < 100_000
