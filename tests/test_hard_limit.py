"""A tall stack in a process that cannot have more memory than its limit: the same bytes, where it failed without."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import write_scene

CLEARYEAR = Path(sys.executable).parent / "clearyear"
LIMIT = 650_000_000


@pytest.fixture(scope="module")
def tall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 scenes of one block: 472 MB, of which no whole block fits the limit. Links to three files."""
    folder = tmp_path_factory.mktemp("tall")
    for number in range(3):
        pixels = np.random.default_rng(number).integers(1, 255, (3, 512, 512), np.uint8)
        pixels[:, 40:] = pixels[:, :1]  # quickly read
        write_scene(folder / "files" / f"{number}.tif", pixels, blockxsize=512, blockysize=512)
    (folder / "scenes").mkdir()
    for number in range(600):
        day = np.datetime64("2022-01-01") + number
        (folder / "scenes" / f"a_{str(day).replace('-', '')}.tif").symlink_to(folder / "files" / f"{number % 3}.tif")
    return folder / "scenes"


def window(scenes: Path, out: Path, *options: str, hard: bool, reader: str) -> subprocess.CompletedProcess[str]:
    """`clearyear window` with all private memory bound by the kernel, which is stricter than a container's limit."""
    command = [str(CLEARYEAR), "window", "--scenes", str(scenes), "--period", "all", "--out", str(out)]
    return subprocess.run(
        [*command, "--id", "x00000_y00000", "--layers", "count,source", *options],
        env={"PATH": "/usr/bin:/bin", "HOME": str(out), "CLEARYEAR_READER": reader, "CLEARYEAR_WORKERS": "2"},
        preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))) if hard else None,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts all private memory in RLIMIT_DATA")
@pytest.mark.parametrize("reader", ["auto", "gdal"])
def test_a_tall_stack_keeps_to_a_hard_limit_with_the_same_bytes(tall: Path, tmp_path: Path, reader: str) -> None:
    free = window(tall, tmp_path / "free", hard=False, reader=reader)
    assert free.returncode == 0, free.stderr
    assert window(tall, tmp_path / "no", hard=True, reader=reader).returncode != 0, "the limit would not be felt"
    bound = window(tall, tmp_path / "bound", "--memory-limit", str(LIMIT), hard=True, reader=reader)
    assert bound.returncode == 0, bound.stderr
    tiles = [sorted((tmp_path / name).rglob("tiles/*.tif")) for name in ("free", "bound")]
    assert len(tiles[0]) == len(tiles[1]) == 3
    assert [p.read_bytes() for p in tiles[0]] == [p.read_bytes() for p in tiles[1]]
