"""The demo year: a grid, a calendar and pixel values that the rest of the tests can rely on."""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio

from clearyear.demo import make_scenes

COUNT, SIZE = 6, 96


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six small scenes, made once."""
    return make_scenes(tmp_path_factory.mktemp("year") / "made" / "for me", count=COUNT, size=SIZE)


def _stack(paths: list[Path]) -> npt.NDArray[np.uint8]:
    """Pixels of all scenes, shape (scenes, 3, height, width)."""
    pixels = []
    for path in paths:
        with rasterio.open(path) as source:
            pixels.append(source.read())
    return np.stack(pixels)


def test_names_are_those_of_different_days_of_the_year_in_order(scenes: list[Path]) -> None:
    """The dates can be read from the names, and nothing else is left in the folder."""
    found = [re.fullmatch(r"T31TCJ_(\d{8})T104441_TCI\.tif", path.name) for path in scenes]
    days = [date.fromisoformat(match[1]) for match in found if match]
    assert len(days) == COUNT
    assert days == sorted(set(days))
    assert {day.year for day in days} == {2023}
    assert (days[-1] - days[0]).days > 180
    assert sorted(scenes[0].parent.iterdir()) == scenes


@pytest.mark.parametrize(("size", "block"), [(96, 128), (320, 256)])
def test_files_are_cogs_on_the_grid_of_the_tile(tmp_path: Path, size: int, block: int) -> None:
    """Everything a reader may ask about the layout."""
    (path,) = make_scenes(tmp_path, count=1, size=size)
    with rasterio.open(path) as source:
        assert (source.count, source.height, source.width) == (3, size, size)
        assert set(source.dtypes) == {"uint8"}
        assert source.nodata == 0
        assert source.crs.to_epsg() == 32631
        assert source.transform[:6] == (10, 0, 300000, 0, -10, 4900020)
        assert source.block_shapes == [(block, block)] * 3
        layout = source.tags(ns="IMAGE_STRUCTURE")
    wanted = {"LAYOUT": "COG", "COMPRESSION": "DEFLATE", "PREDICTOR": "2", "INTERLEAVE": "PIXEL"}
    assert wanted.items() <= layout.items()


def test_pixels_depend_on_the_seed_only(scenes: list[Path], tmp_path: Path) -> None:
    """The same seed gives the same pixels, another one another year."""
    again = _stack(make_scenes(tmp_path / "same", count=COUNT, size=SIZE))
    other = _stack(make_scenes(tmp_path / "other", count=COUNT, size=SIZE, seed=7))
    assert np.array_equal(_stack(scenes), again)
    assert np.mean(again != other) > 0.5


def test_a_third_is_cut_by_the_swath_and_only_there_is_nodata(scenes: list[Path]) -> None:
    """Nodata is 0 in all bands at once, and every row of it touches a side of the picture."""
    empty = _stack(scenes) == 0
    assert np.array_equal(empty.any(axis=1), empty.all(axis=1))
    outside = empty[:, 0]
    assert outside.any(axis=(1, 2)).sum() == COUNT // 3
    assert outside.mean(axis=(1, 2)).max() < 0.7
    changes = np.abs(np.diff(outside.astype(int), axis=2)).sum(axis=2)
    assert changes.max() == 1
    assert outside[:, :, 0].any(), "none is cut from the left"
    assert outside[:, :, -1].any(), "none is cut from the right"


def test_only_bright_clouds_saturate(scenes: list[Path]) -> None:
    """255 occurs, but in cloud cores alone: all its bands are bright, and the clearest scene has none."""
    pixels = _stack(scenes)
    saturated = (pixels == 255).any(axis=1)
    share = saturated.mean(axis=(1, 2))
    assert share.max() > 0.4 > np.median(share)
    assert share.min() == 0
    assert pixels.min(axis=1)[saturated].min() > 180


def test_land_is_within_range_and_seen_everywhere(scenes: list[Path]) -> None:
    """Two scenes are cloudless and whole; the land in them has neither 0 nor 255 and is not uniform."""
    pixels = _stack(scenes)
    usable = ((pixels > 0) & (pixels < 255)).all(axis=1)
    whole = usable.reshape(COUNT, -1).all(axis=1)
    assert whole.sum() >= 2
    assert usable.sum(axis=0).min() >= 2
    land = pixels[whole]
    assert land.std(axis=(2, 3)).min() > 5
    assert np.median(land) < 200


def test_second_call_leaves_files_as_they_are(tmp_path: Path) -> None:
    """What is there stays, even if it is no scene; what is missing is made as before."""
    paths = make_scenes(tmp_path, count=3, size=48)
    missing = paths[1].read_bytes()
    paths[0].write_bytes(b"mine")
    paths[1].unlink()
    for path in (paths[0], paths[2]):
        os.utime(path, ns=(10**18, 10**18))
    assert make_scenes(tmp_path, count=3, size=48) == paths
    assert [path.stat().st_mtime_ns == 10**18 for path in paths] == [True, False, True]
    assert paths[0].read_bytes() == b"mine"
    assert paths[1].read_bytes() == missing


def test_nothing_is_left_of_a_scene_that_could_not_be_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure before the last step leaves neither the scene nor a part of it."""

    def refuse(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="no room"):
        make_scenes(tmp_path, count=1, size=48)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("count", "size"), [(0, 96), (366, 96), (6, 31)])
def test_impossible_years_are_refused(tmp_path: Path, count: int, size: int) -> None:
    """More scenes than days, none at all, or too small a picture."""
    with pytest.raises(ValueError, match="count must be"):
        make_scenes(tmp_path / "none", count=count, size=size)
    assert not (tmp_path / "none").exists()
