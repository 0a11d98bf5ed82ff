"""Shares of pixels against exact areas, on polygons drawn to be awkward: on the grid's lines, with holes, cut off."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import make_valid, wkt
from shapely.geometry import MultiPolygon, Polygon, box

from clearyear.grid import Window
from clearyear.zonal import coverage as module
from clearyear.zonal.coverage import coverage

# Quarters: corners on pixels' corners and edges along their edges, where an algorithm on a grid is most likely wrong.
numbers = st.integers(-12, 52).map(lambda n: n / 4)
points = st.tuples(numbers, numbers)
windows = st.builds(
    Window, col_off=st.integers(0, 5), row_off=st.integers(0, 5), width=st.integers(1, 6), height=st.integers(1, 6)
)


def shares_by_area(shape: MultiPolygon, window: Window) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    index = np.arange(window.n_pixels)
    cols, rows = window.col_off + index % window.width, window.row_off + index // window.width
    found: np.ndarray[tuple[int], np.dtype[np.float64]]
    found = shapely.area(shapely.intersection(shape, shapely.box(cols, -rows - 1, cols + 1, -rows)))
    return found


def shares(shape: MultiPolygon, window: Window) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    found = np.zeros(window.n_pixels)
    cells, weights = coverage(shape, window)
    found[cells] = weights
    return found


def polygons_of(shape: shapely.Geometry) -> MultiPolygon:
    parts = [p for p in getattr(shape, "geoms", [shape]) if p.geom_type in ("Polygon", "MultiPolygon")]
    return MultiPolygon([q for p in parts for q in getattr(p, "geoms", [p])])


@settings(max_examples=200)
@given(outline=st.lists(points, min_size=3, max_size=8), hole=st.tuples(points, points), window=windows)
def test_shares_are_areas(
    outline: list[tuple[float, float]], hole: tuple[tuple[float, float], ...], window: Window
) -> None:
    (x0, y0), (x1, y1) = hole
    shape = make_valid(Polygon(outline)).difference(box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    shape = polygons_of(shapely.affinity.translate(shape, 0, -10))
    if shape.is_valid:
        assert np.allclose(shares(shape, window), shares_by_area(shape, window), rtol=0, atol=2e-6)


def test_an_edge_through_a_pixels_corner() -> None:
    """What exactextract 0.3.0 alone gets wrong: one pixel that is wholly inside counts nothing."""
    triangle = polygons_of(wkt.loads("POLYGON ((5 -5, -0.5 -6.5, 10 1, 5 -5))"))
    window = Window(col_off=1, row_off=3, width=4, height=5)
    expected = shares_by_area(triangle, window)
    assert np.allclose(shares(triangle, window), expected, atol=2e-6)
    part = module._within(triangle, window)
    cells, weights = module._by_area(part, window)
    found = np.zeros(window.n_pixels)
    found[cells] = weights
    assert np.allclose(found, expected, atol=1e-12)


def test_a_hole_that_touches_the_window_from_outside() -> None:
    """What kills the process: a segmentation fault in exactextract 0.3.0."""
    shape = polygons_of(box(3.3, -22, 21, -4.3).difference(box(7.5, -17, 13.3, -10.9)))
    window = Window(col_off=3, row_off=17, width=18, height=1)
    assert np.allclose(shares(shape, window), shares_by_area(shape, window), atol=2e-6)


@pytest.mark.parametrize("shape", [box(50, -60, 52, -55), box(0, -3, 1, -2), Polygon()])
def test_nothing_in_the_window(shape: Polygon) -> None:
    cells, weights = coverage(polygons_of(shape), Window(col_off=1, row_off=3, width=4, height=5))
    assert len(cells) == len(weights) == 0
