"""Under a memory limit no block is read more often than it must: counted where blocks and bytes are read."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_scene

from clearyear import memory
from clearyear.grid import Window
from clearyear.job import Job
from clearyear.memory import least_bytes, peak_bytes, times_read
from clearyear.plan import Plan
from clearyear.prepare import make_plan
from clearyear.reading import gdal
from clearyear.reading.direct import DirectSource
from clearyear.reading.ranges import Block
from clearyear.window import reduce_window

ODD = Window(col_off=100, row_off=70, width=300, height=400)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """One window of six scenes, 512² px of noise in blocks of 128: what is stored is what is read."""
    for day in range(1, 7):
        pixels = np.random.default_rng(day).integers(1, 255, (3, 512, 512), np.uint8)
        write_scene(tmp_path / "s" / f"a_2023010{day}.tif", pixels, blockxsize=128, blockysize=128)
    return make_plan(Job(scenes=str(tmp_path / "s"), period="2023", out=str(tmp_path / "o"), tile_size=512))


@pytest.mark.parametrize("window", [Window(col_off=0, row_off=0, width=512, height=512), ODD], ids=["whole", "odd"])
@pytest.mark.parametrize(("rows", "times"), [(512, 1), (128, 1), (127, 2), (64, 2), (20, 7)])
def test_how_often_each_block_is_decoded(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, window: Window, rows: int, times: int
) -> None:
    limit = memory._bytes(plan, window, 128 * rows if rows < 512 else window.n_pixels, 1)
    read: Counter[tuple[str, int, int]] = Counter()
    genuine = DirectSource._unpack

    def counted(self: DirectSource, data: Any, block: Block) -> Any:
        read[self.path, block.row, block.col] += 1
        return genuine(self, data, block)

    monkeypatch.setattr(DirectSource, "_unpack", counted)
    assert reduce_window(plan, window, window_bytes=limit)[0] is not None
    columns = range(window.col_off // 128, (window.col_off + window.width - 1) // 128 + 1)
    lines = range(window.row_off // 128, (window.row_off + window.height - 1) // 128 + 1)
    assert len(read) == 6 * len(columns) * len(lines)
    assert max(read.values()) == times == times_read(plan, window, limit)
    for (_, row, _), n in read.items():
        inside = min(row * 128 + 128, window.row_off + window.height) - max(row * 128, window.row_off)
        assert n == -(-inside // rows)


@pytest.mark.parametrize("reader", ["auto", "gdal"])
@pytest.mark.parametrize(("share", "times"), [(1, 1), (0.3, 1), (0.045, 2)])
def test_how_many_bytes_are_read(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, reader: str, share: float, times: int
) -> None:
    """By the kernel's own count, whoever reads."""
    monkeypatch.setenv("CLEARYEAR_READER", reader)
    window = plan.windows[0]
    stored = sum(scene.size for scene in plan.scenes)
    least = least_bytes(plan, window)
    limit = least + int(share * (peak_bytes(plan, window) - least))
    assert times_read(plan, window, limit) == times
    reduce_window(plan, window)  # headers read, kernels loaded
    gdal.keep_open(gdal.MOST_IDLE)  # and GDAL's blocks forgotten
    before = bytes_read()
    assert reduce_window(plan, window, window_bytes=limit)[0] is not None
    found = (bytes_read() - before) / stored
    # What is cut GDAL finds in its cache, which all of this fits into; its checksum is looked at each time.
    assert found == pytest.approx(1 + times if reader == "gdal" else times, rel=0.05)


def bytes_read() -> int:
    path = Path("/proc/self/io")
    if not path.exists():
        pytest.skip("the kernel does not count what is read")
    return int(path.read_text().split("rchar: ")[1].split()[0])
