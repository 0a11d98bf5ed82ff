"""Pictures: what of a window's state can be seen in the tile map, and what a preview makes of any kind of pixels."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import write_scene
from numpy.typing import NDArray
from PIL import Image
from runs import plan_of, statuses_of

from clearyear.completeness import Status
from clearyear.errors import ReadError
from clearyear.pictures import COLOURS, GROUND, preview, thumbnail, tile_map
from clearyear.plan import Plan

BLUE = (20, 90, 200)
LEGEND = 76
RING = 3


def jpeg(size: tuple[int, int], colour: tuple[int, int, int] = BLUE) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG", quality=95)
    return out.getvalue()


def pixels_of(picture: bytes) -> NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(np.int64)


def drawn(plan: Plan, bad: dict[int, Status], picture: bytes | None = None, side: int = 1024) -> NDArray[np.int64]:
    return pixels_of(tile_map(plan, statuses_of(plan, bad), picture, side=side))


def box_of(plan: Plan, number: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a window on a map without its legend."""
    window, scale = plan.windows[number], (shape[0] - LEGEND) / plan.grid.height
    edges = (window.col_off, window.row_off, window.col_off + window.width, window.row_off + window.height)
    left, top, right, bottom = (round(edge * scale) for edge in edges)
    return left, top, right, bottom


def is_near(found: NDArray[np.int64], colour: tuple[int, int, int], tolerance: int = 3) -> bool:
    return bool(np.abs(found - np.array(colour)).max() <= tolerance)


# -- tile map ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.OK])
def test_a_window_has_its_status_colour_and_the_others_show_the_picture(status: Status) -> None:
    plan = plan_of(100, 80, 20)
    found = drawn(plan, {6: status}, jpeg((100, 80)))
    assert found.shape == (640 + LEGEND, 800, 3)
    left, top, right, bottom = box_of(plan, 6, found.shape)
    assert (left, top, right, bottom) == (160, 160, 320, 320)
    assert (found[top + 1 : bottom - 1, left + 1 : left + 5] == COLOURS[status]).all()
    assert (found[top + 1 : bottom - 1, right - 5 : right - 1] == COLOURS[status]).all()
    for number in (0, 2, 4, 8, 13, 19):
        left, top, right, bottom = box_of(plan, number, found.shape)
        assert is_near(found[top + 4 : bottom - 4, left + 4 : right - 4], BLUE), number


@pytest.mark.parametrize("damaged", [b"", b"no picture", jpeg((100, 80))[:300]], ids=["empty", "text", "cut"])
def test_a_damaged_picture_is_as_good_as_none(damaged: bytes) -> None:
    plan = plan_of(100, 80, 20)
    bad = {6: Status.MISSING}
    assert np.array_equal(drawn(plan, bad, damaged), drawn(plan, bad))


def test_without_a_picture_what_is_well_is_green() -> None:
    plan = plan_of(100, 80, 20)
    found = drawn(plan, {})
    left, top, right, bottom = box_of(plan, 19, found.shape)
    assert (found[top + 2 : bottom - 2, left + 2 : right - 2] == COLOURS[Status.OK]).all()


@pytest.mark.parametrize(
    ("size", "tile_size", "number", "status"),
    [
        *((2, 1, 2, status) for status in (Status.MISSING, Status.INVALID, Status.STALE)),
        *((110, 10, 60, status) for status in (Status.MISSING, Status.INVALID, Status.STALE)),
        *((500, 10, 1234, status) for status in (Status.MISSING, Status.INVALID, Status.STALE)),
        (110, 10, 0, Status.MISSING),  # in a corner of 121
        (110, 10, 120, Status.MISSING),
        (2580, 20, 12345, Status.MISSING),  # 16,641 windows: eight pixels each
        (2049, 64, 33 * 33 - 1, Status.MISSING),  # one pixel of the grid, half a pixel of the map
    ],
)
def test_one_window_among_many_is_seen_and_covers_nothing_else(
    size: int, tile_size: int, number: int, status: Status
) -> None:
    plan = plan_of(size, size, tile_size)
    found, clean = drawn(plan, {number: status}, jpeg((64, 64))), drawn(plan, {}, jpeg((64, 64)))
    rows, cols = np.nonzero((found != clean)[:-LEGEND].any(axis=2))
    left, top, right, bottom = box_of(plan, number, found.shape)
    least = 7 - min(right - left, bottom - top, 7)
    assert cols.min() >= left - RING - least
    assert rows.min() >= top - RING - least
    assert cols.max() < right + RING + least
    assert rows.max() < bottom + RING + least
    # Whatever the number of windows, a person sees no less than seven pixels and a ring in black and white.
    coloured = (found[:-LEGEND] == COLOURS[status]).all(axis=2).sum()
    assert coloured >= 49
    inside = found[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
    assert (inside == 255).all(axis=2).sum() >= 10
    assert (inside == 0).all(axis=2).sum() >= 10


@pytest.mark.parametrize("status", [Status.MISSING, Status.INVALID, Status.STALE])
def test_the_mark_tells_the_status_apart_without_its_colour(status: Status) -> None:
    plan = plan_of(40, 40, 20)
    found = drawn(plan, {0: status})
    left, top, right, bottom = box_of(plan, 0, found.shape)
    ink = 0 if status is Status.STALE else 255
    marked = (found[top + 2 : bottom - 2, left + 2 : right - 2] == ink).all(axis=2)
    wanted = {Status.MISSING: {"falling", "rising"}, Status.INVALID: {"rising"}, Status.STALE: {"level"}}
    assert _lines(marked) == wanted[status]


def _lines(marked: NDArray[np.bool_]) -> set[str]:
    """Of which lines the mark is made; the label's lines stand below it, after a gap."""
    rows = np.nonzero(marked.any(axis=1))[0]
    mark = marked[rows[0] : rows[np.nonzero(np.diff(rows) > 3)[0][0]] + 1]
    cols = np.nonzero(mark.any(axis=0))[0]
    mark = mark[:, cols[0] : cols[-1] + 1]
    if mark.shape[0] < mark.shape[1] / 4:
        return {"level"}
    steps = np.linspace(0.05, 0.95, 60)
    across = (steps * (mark.shape[1] - 1)).astype(int)
    shares = {
        name: mark[(down * (mark.shape[0] - 1)).astype(int), across].mean()
        for name, down in (("falling", steps), ("rising", 1 - steps))
    }
    return {name for name, share in shares.items() if share > 0.9}


def test_the_label_stands_inside_its_window_or_not_at_all() -> None:
    """At 93 px, a granule's 121 windows, the smallest letters just fit; at 60 px none do."""
    for tile_size, labelled in ((93, True), (60, False)):
        plan = plan_of(1024, 1024, tile_size)
        found = drawn(plan, {0: Status.MISSING})
        inside = (found[2 : tile_size - 2, 2 : tile_size - 2] == 255).all(axis=2)
        rows = np.nonzero(inside.any(axis=1))[0]
        blocks = int((np.diff(rows) > 2).sum()) + 1
        assert (blocks > 1) == labelled
        assert not inside[:, :1].any()
        assert not inside[:, -1:].any()


def test_neighbours_that_are_not_done_stay_apart() -> None:
    plan = plan_of(1000, 1000, 20)
    found = drawn(plan, {0: Status.MISSING, 1: Status.STALE, 50: Status.MISSING})
    for number, status in ((0, Status.MISSING), (1, Status.STALE), (50, Status.MISSING)):
        left, top, right, bottom = box_of(plan, number, found.shape)
        assert (found[top + 2 : top + 4, left + 2 : right - 2] == COLOURS[status]).all()
        assert (found[top, left:right] == 255).all()
        assert (found[top:bottom, left] == 255).all()


@pytest.mark.parametrize("size", [(50, 40), (2000, 30), (30, 2000), (1, 1), (20000, 1)])
def test_the_legend_has_room_for_all_five(size: tuple[int, int]) -> None:
    plan = plan_of(*size, tile_size=16)
    found = drawn(plan, {})
    assert found.shape[1] >= 560
    strip = found[-LEGEND:]
    places = []
    for colour in COLOURS.values():
        # A swatch is 20 px high and wide; a few pixels of a letter's edge may be as grey as one.
        (cols,) = np.nonzero((strip[44:64] == colour).all(axis=2).sum(axis=0) >= 9)
        assert cols.max() - cols.min() == 19
        places.append((cols.min(), cols.max()))
    assert [edge for place in places for edge in place] == sorted(edge for place in places for edge in place)
    assert (strip[:, -1] == 255).all()
    assert (strip[-1] == 255).all()


def test_the_legend_counts() -> None:
    """The same strip with other numbers is another picture; with the same numbers it is the same."""
    plan = plan_of(100, 80, 20)
    one, other = drawn(plan, {3: Status.MISSING}), drawn(plan, {9: Status.MISSING})
    two = drawn(plan, {3: Status.MISSING, 9: Status.MISSING})
    assert np.array_equal(one[-LEGEND:], other[-LEGEND:])
    assert not np.array_equal(one[-LEGEND:], two[-LEGEND:])


def test_thumbnail_keeps_the_shape() -> None:
    assert pixels_of(thumbnail(jpeg((400, 200)), side=100)).shape == (50, 100, 3)


# -- preview -------------------------------------------------------------------------------------------------


def shown(tmp_path: Path, pixels: NDArray[Any], side: int = 1024, **profile: Any) -> NDArray[np.int64]:
    return pixels_of(preview(str(write_scene(tmp_path / "a.tif", pixels, **profile)), side=side))


def test_three_bytes_are_shown_as_they_are_and_nodata_as_ground(tmp_path: Path) -> None:
    pixels = np.empty((3, 64, 64), np.uint8)
    pixels[:] = np.array(BLUE, np.uint8)[:, None, None]
    pixels[:, :, :32] = 0
    found = shown(tmp_path, pixels)
    assert found.shape == (64, 64, 3), "it is never enlarged"
    assert is_near(found[:, :24], GROUND)
    assert is_near(found[:, 40:], BLUE)


@pytest.mark.parametrize(("side", "wanted"), [(100, (50, 100, 3)), (16, (8, 16, 3)), (1000, (96, 192, 3))])
def test_the_longest_side_is_what_was_asked_for(tmp_path: Path, side: int, wanted: tuple[int, int, int]) -> None:
    assert shown(tmp_path, np.full((3, 96, 192), 77, np.uint8), side).shape == wanted


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64"])
def test_other_types_are_stretched_between_percentiles(tmp_path: Path, dtype: str) -> None:
    """A ramp from 1000 to 1999 with a few wild values: they take no brightness from the rest."""
    ramp = np.linspace(1000, 1999, 64 * 64).reshape(1, 64, 64)
    ramp[0, 0, :8], ramp[0, -1, -8:] = 1, 32000
    found = shown(tmp_path, ramp.astype(dtype))[..., 0]
    assert found[1, 10] <= 6
    assert found[-2, 10] >= 250
    assert abs(found[32, 10] - 128) <= 6
    assert (np.diff(found[4:-4, 32]) >= -2).all()


@pytest.mark.parametrize(("dtype", "nodata"), [("float32", float("nan")), ("float32", None), ("uint16", 0)])
def test_nodata_takes_no_part_in_the_stretch(tmp_path: Path, dtype: str, nodata: float | None) -> None:
    values = np.linspace(5000, 6000, 64 * 64).reshape(1, 64, 64)
    values[:, :, :32] = 0 if dtype == "uint16" else np.nan
    found = shown(tmp_path, values.astype(dtype), nodata=nodata)
    assert is_near(found[:, :24], GROUND)
    assert abs(int(found[32, 48, 0]) - 128) <= 8


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [1, 2, 3, 5])
def test_nothing_but_nodata_is_all_ground(tmp_path: Path, dtype: str, bands: int) -> None:
    assert is_near(shown(tmp_path, np.zeros((bands, 32, 48), dtype)), GROUND)


def test_one_value_everywhere_is_middle_grey(tmp_path: Path) -> None:
    assert is_near(shown(tmp_path, np.full((1, 32, 32), 10000, np.uint16)), (128, 128, 128))


@pytest.mark.parametrize("bands", [1, 2])
def test_fewer_than_three_bands_are_grey(tmp_path: Path, bands: int) -> None:
    pixels = np.full((bands, 32, 32), 200, np.uint8)
    pixels[0] = 90
    assert is_near(shown(tmp_path, pixels), (90, 90, 90))


def test_bands_are_taken_by_name(tmp_path: Path) -> None:
    import rasterio

    pixels = np.stack([np.full((32, 32), value, np.uint8) for value in (200, 90, 20, 250)])
    path = write_scene(tmp_path / "a.tif", pixels, photometric="MINISBLACK")
    assert is_near(pixels_of(preview(str(path))), (200, 90, 20))
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("Blue", "Green", "Red", "nir")
    assert is_near(pixels_of(preview(str(path))), (20, 90, 200))


@pytest.mark.parametrize(
    ("names", "red"),
    [
        (("B02", "B03", "B04", "B8A"), 2),
        (
            (
                "p10_blue",
                "p10_green",
                "p10_red",
                "p50_blue",
                "p50_green",
                "p50_red",
                "p90_red",
                "p90_green",
                "p90_blue",
            ),
            5,
        ),
        (("p10_B02", "p10_B03", "p10_B04", "p90_B02", "p90_B03", "p90_B04"), 5),
        (("nir", "red", "", "green"), 0),
    ],
)
def test_names_of_sentinel_2_and_of_percentiles(tmp_path: Path, names: tuple[str, ...], red: int) -> None:
    """The band that stands for red is the one that is bright."""
    pixels = np.full((len(names), 20, 20), 10, np.uint8)
    pixels[red] = 200
    path = write_scene(tmp_path / "a.tif", pixels, nodata=None)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = names
    assert is_near(pixels_of(preview(str(path))), (200, 10, 10), tolerance=6)


def test_a_file_that_is_no_tiff_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text("not a picture")
    with pytest.raises(ReadError, match=r"a\.tif.*not recognized as being in a supported file format"):
        preview(str(path))
