"""Threads share what others have freed: the C library makes no arena for each."""

import platform
import subprocess
import sys

import pytest

CODE = """
import ctypes, sys, threading
from app.allocator import share_freed_memory
if sys.argv[1] == "shared":
    share_freed_memory()
libc, all_there = ctypes.CDLL(None), threading.Barrier(12)
libc.malloc.restype = ctypes.c_void_p
def allocate():
    all_there.wait(20)
    for _ in range(200):
        libc.malloc(ctypes.c_size_t(1000))
    all_there.wait(20)
threads = [threading.Thread(target=allocate) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def arenas(how: str) -> int:
    """How many arenas a process has after twelve threads have allocated at a time."""
    run = subprocess.run(
        [sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True, timeout=60
    )
    return run.stdout.count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no arenas")
def test_threads_allocate_from_two_arenas():
    assert arenas("shared") <= 2 < arenas("as it is")
