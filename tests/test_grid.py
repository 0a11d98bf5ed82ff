"""The grid and its windows: every pixel once, edges clipped, ids that find their window again."""

import pytest

from clearyear.errors import InputError
from clearyear.grid import Grid, Window

GRANULE = Grid(
    crs="EPSG:32631", transform=(10, 0, 300000, 0, -10, 4900020), width=10980, height=10980, block=(512, 512)
)
TILTED = Grid(crs="EPSG:32631", transform=(8, 6, 1000, 6, -8, 2000), width=40, height=30, block=(16, 16))


def small(width: int, height: int) -> Grid:
    return Grid(crs="EPSG:32631", transform=(10, 0, 0, 0, -10, 0), width=width, height=height, block=(16, 16))


def test_granule_in_windows_of_1024() -> None:
    """The case the issue names: 121 windows, the last 740 px wide."""
    windows = list(GRANULE.windows(1024))
    assert len(windows) == 121
    assert windows[0] == Window(col_off=0, row_off=0, width=1024, height=1024)
    assert windows[10] == Window(col_off=10240, row_off=0, width=740, height=1024)
    assert windows[-1] == Window(col_off=10240, row_off=10240, width=740, height=740)
    assert windows[-1].id == "x10240_y10240"
    assert windows[-1].n_pixels == 740 * 740
    assert sum(w.n_pixels for w in windows) == 10980 * 10980


def test_windows_come_row_by_row() -> None:
    ids = [w.id for w in small(40, 33).windows(16)]
    assert ids == [
        *("x00000_y00000", "x00016_y00000", "x00032_y00000"),
        *("x00000_y00016", "x00016_y00016", "x00032_y00016"),
        *("x00000_y00032", "x00016_y00032", "x00032_y00032"),
    ]


@pytest.mark.parametrize(
    ("width", "height", "tile_size", "sizes"),
    [
        (32, 32, 16, [(16, 16)] * 4),
        (33, 16, 16, [(16, 16), (16, 16), (1, 16)]),
        (10, 7, 16, [(10, 7)]),
        (16, 16, 16, [(16, 16)]),
        (1, 1, 1024, [(1, 1)]),
    ],
)
def test_edges_are_clipped(width: int, height: int, tile_size: int, sizes: list[tuple[int, int]]) -> None:
    assert [(w.width, w.height) for w in small(width, height).windows(tile_size)] == sizes


def test_ids_sort_like_the_windows_of_a_row_and_grow_beyond_five_digits() -> None:
    assert Window(col_off=7, row_off=123456, width=1, height=1).id == "x00007_y123456"
    ids = [w.id for w in GRANULE.windows(1024) if w.row_off == 0]
    assert ids == sorted(ids)


@pytest.mark.parametrize("tile_size", [100, 1024, 20000])
def test_id_finds_its_window(tile_size: int) -> None:
    for window in GRANULE.windows(tile_size):
        assert GRANULE.window(window.id, tile_size) == window


@pytest.mark.parametrize(
    "window_id",
    [
        "x10240_y11264",  # below the grid
        "x11264_y10240",  # right of it
        "x00001_y00000",  # between two windows
        "x00000_y00512",
        "x-0001_y00000",
        "x0_y0",
        "x00000_y00000_count",
        "nonsense",
        "",
    ],
)
def test_unknown_id_is_refused_with_those_there_are(window_id: str) -> None:
    with pytest.raises(InputError, match=r"outside the grid of 10980 × 10980 px in windows of 1024 px") as caught:
        GRANULE.window(window_id, 1024)
    assert f"{window_id!r}" in caught.value.found
    assert "from x00000_y00000 to x10240_y10240 in steps of 1024" in caught.value.wanted
    assert caught.value.window == window_id
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("rectangle", [(0, 0, 40, 30), (39, 29, 1, 1), (5, 7, 11, 13)])
def test_rectangle_inside_passes(rectangle: tuple[int, int, int, int]) -> None:
    col, row, width, height = rectangle
    window = Window(col_off=col, row_off=row, width=width, height=height)
    assert TILTED.check_inside(window) is window


@pytest.mark.parametrize(
    "rectangle",
    [(-1, 0, 5, 5), (0, -1, 5, 5), (36, 0, 5, 5), (0, 26, 5, 5), (0, 0, 0, 5), (0, 0, 5, -1), (40, 0, 1, 1)],
)
def test_rectangle_that_sticks_out_is_refused(rectangle: tuple[int, int, int, int]) -> None:
    col, row, width, height = rectangle
    numbers = rf"\[{col}, {row}, {width}, {height}\] \(column, row, width, height\)"
    with pytest.raises(InputError, match=f"{numbers} lies outside the grid of 40 × 30 px"):
        TILTED.check_inside(Window(col_off=col, row_off=row, width=width, height=height))


def test_transform_and_bounds_of_a_window() -> None:
    last = GRANULE.window("x10240_y10240", 1024)
    assert GRANULE.transform_of(last) == (10, 0, 300000 + 102400, 0, -10, 4900020 - 102400)
    assert GRANULE.bounds(last) == (402400, 4900020 - 109800, 409800, 4900020 - 102400)
    assert GRANULE.bounds() == (300000, 4790220, 409800, 4900020)


def test_corners_of_a_tilted_grid() -> None:
    """A rotated transform: every corner by hand, the ring closed."""
    window = Window(col_off=10, row_off=20, width=5, height=10)
    assert TILTED.transform_of(window) == (8, 6, 1200, 6, -8, 1900)
    assert TILTED.corners(window) == [(1200, 1900), (1240, 1930), (1300, 1850), (1260, 1820), (1200, 1900)]
    assert TILTED.bounds(window) == (1200, 1820, 1300, 1930)


def test_grid_survives_json() -> None:
    assert Grid.model_validate_json(TILTED.model_dump_json()) == TILTED


@pytest.mark.parametrize("grid", [GRANULE, TILTED], ids=["north up", "turned"])
def test_offset_of_a_part_and_of_what_is_none(grid: Grid) -> None:
    part = grid.model_copy(update={"transform": grid.transform_of(Window(col_off=7, row_off=-3, width=1, height=1))})
    assert grid.offset_of(part) == (7, -3)
    assert part.offset_of(grid) == (-7, 3)
    a, b, c, d, e, f = grid.transform
    for other in ((a, b, c + 0.02, d, e, f), (a * 1.001, b, c, d, e, f), (a / 2, b / 2, c, d / 2, e / 2, f)):
        assert grid.offset_of(grid.model_copy(update={"transform": other})) is None
    assert grid.offset_of(grid.model_copy(update={"crs": "EPSG:32632"})) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 1e300])
def test_a_damaged_transform_lies_nowhere(value: float) -> None:
    damaged = GRANULE.model_copy(update={"transform": (value, 0, 300000, 0, value, 4900020)})
    assert GRANULE.offset_of(damaged) is None
    assert damaged.offset_of(GRANULE) is None
    assert damaged.is_placed is (value == 1e300)
    assert damaged.offset_of(damaged) in ((0, 0), None)


def test_without_a_crs_only_the_same_grid_is_the_same() -> None:
    lost = GRANULE.model_copy(update={"crs": ""})
    assert lost.offset_of(lost) == (0, 0)
    assert lost.offset_of(lost.model_copy(update={"transform": (10, 0, 300010, 0, -10, 4900020)})) is None
