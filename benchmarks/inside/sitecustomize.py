"""On SIGUSR1 a Python process tells what its memory is made of: for the server of longrun.py, found by PYTHONPATH."""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any


class _Mallinfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc 2.33 and later."""

    _names_ = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = tuple((name, ctypes.c_size_t) for name in _names_.split())


def _tell(*_: Any) -> None:
    libc = ctypes.CDLL("libc.so.6")
    libc.mallinfo2.restype = _Mallinfo
    heap = libc.mallinfo2()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    told = {"rss": resident, "blocks": sys.getallocatedblocks(), "used": heap.uordblks, "free": heap.fordblks}
    target = Path(os.environ["CLEARYEAR_INSIDE"])
    target.with_suffix(".part").write_text(json.dumps(told))
    target.with_suffix(".part").rename(target)


if "CLEARYEAR_INSIDE" in os.environ:
    signal.signal(signal.SIGUSR1, _tell)
