"""Pictures of zonal statistics: a map of one period, and a chart over all of them.

Drawn with Matplotlib's objects and Agg, never with pyplot: that keeps global state, and tasks run in threads.
"""

import io
import math
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK = "#22272e"
_QUIET = "#8b949e"
_GRID = "#e6e8eb"
_NONE = "#d9dce0"
"""What a polygon without a value is filled with, and hatched besides."""
_LINES = ("#0b6e99", "#d1495b", "#edae49", "#3a7d44", "#6a4c93", "#e07a1f", "#00798c", "#8d6346")
"""Told apart by brightness too; beyond these polygons are drawn in grey and the first named."""
_DPI = 160
_MOST_NAMED = 60


def choropleth(frame: "GeoDataFrame", statistic: str, *, title: str, subtitle: str) -> bytes:
    """A PNG map of one statistic: one period, one band.

    Args:
        frame: columns ``polygon``, ``geometry`` and the statistic.
        statistic: what the colours mean.
        title: its first line.
        subtitle: its second line, smaller.
    """
    from matplotlib.colors import Normalize
    from matplotlib.patches import Patch

    figure = _figure(7.2, _height(frame))
    axes = figure.add_axes((0.03, 0.04, 0.80, 0.82))
    known = frame[frame[statistic].notna()]
    unknown = frame[frame[statistic].isna() & frame.geometry.notna() & ~frame.geometry.is_empty]
    low, high = (known[statistic].min(), known[statistic].max()) if len(known) else (0.0, 1.0)
    norm = Normalize(low, high if high > low else low + 1)
    if len(unknown):
        unknown.plot(ax=axes, color=_NONE, edgecolor=_QUIET, linewidth=0.6, hatch="////")
        sign = Patch(facecolor=_NONE, edgecolor=_QUIET, hatch="////", label="no value")
        axes.legend(handles=[sign], loc="lower left", frameon=False, fontsize=8)
    if len(known):
        known.plot(ax=axes, column=statistic, cmap="viridis", norm=norm, edgecolor="white", linewidth=0.6)
        _colour_bar(figure, norm, statistic)
    axes.set_axis_off()
    axes.apply_aspect()
    _name_polygons(axes, frame, statistic, norm)
    _titles(figure, title, subtitle)
    return _png(figure)


def time_series(frame: "GeoDataFrame", statistic: str, *, title: str, subtitle: str) -> bytes:
    """A PNG chart of one statistic over the periods, one line a polygon, one band.

    Args:
        frame: columns ``polygon``, ``start`` (ISO dates), ``period`` and the statistic. A period without a value leaves
            a gap; two that start together stand one above the other.
        statistic: what the height means.
        title: its first line.
        subtitle: its second line, smaller.
    """
    import matplotlib.dates as mdates

    figure = _figure(8.4, 4.6)
    axes = figure.add_axes((0.085, 0.12, 0.735, 0.70))
    table = frame.pivot(index=["start", "period"], columns="polygon", values=statistic)
    table = table.reindex(columns=list(dict.fromkeys(frame["polygon"])))
    moments: Any = [date.fromisoformat(str(start)) for start, _ in table.index]
    order = sorted(table.columns, key=lambda name: -_last(table[name].to_list()))
    few = len(order) <= len(_LINES)
    for rank, name in enumerate(order):
        named = rank < len(_LINES)
        colour = _LINES[list(table.columns).index(name)] if few else (_LINES[rank] if named else _QUIET)
        axes.plot(moments, table[name].to_list(), color=colour, linewidth=1.8 if named else 0.7, marker="o",
                  markersize=3.6 if named else 0, alpha=1.0 if named else 0.5, zorder=3 if named else 2)  # fmt: skip
    _label_lines(axes, moments, table, order[: len(_LINES)], few)
    if len(order) > len(_LINES):
        axes.text(1.015, -0.09, f"and {len(order) - len(_LINES)} more in grey", transform=axes.transAxes, fontsize=7.5,
                  color=_QUIET)  # fmt: skip
    locator = mdates.AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = mdates.ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.set_ylabel(_said(statistic), fontsize=9, color=_INK)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, labelsize=8.5, length=3)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_QUIET)
    axes.margins(x=0.02, y=0.12)
    _titles(figure, title, subtitle)
    return _png(figure)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _height(frame: "GeoDataFrame") -> float:
    """Inches, so that the map fills its place."""
    west, south, east, north = frame.total_bounds
    ratio = (north - south) / (east - west) if east > west and math.isfinite(north - south) else 1.0
    return min(9.0, max(3.2, 7.2 * 0.8 * ratio / 0.82 + 0.4))


def _colour_bar(figure: "Figure", norm: Any, statistic: str) -> None:
    from matplotlib.cm import ScalarMappable

    place = figure.add_axes((0.865, 0.12, 0.022, 0.62))
    bar = figure.colorbar(ScalarMappable(norm=norm, cmap="viridis"), cax=place)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=_INK, length=2)
    bar.ax.set_title(_said(statistic), fontsize=8.5, color=_INK, pad=8)


def _name_polygons(axes: "Axes", frame: "GeoDataFrame", statistic: str, norm: Any) -> None:
    """Names inside their polygons, as far as they fit there."""
    from matplotlib.patheffects import withStroke

    if len(frame) > _MOST_NAMED:
        return
    for name, shape, value in zip(frame["polygon"], frame.geometry, frame[statistic], strict=True):
        if shape is None or shape.is_empty:
            continue
        spot = shape.centroid if shape.covers(shape.centroid) else shape.representative_point()
        dark = value == value and norm(value) < 0.6
        ink, halo = ("white", "#00000055") if dark else (_INK, "#ffffff88")
        label = axes.text(spot.x, spot.y, _short(name), ha="center", va="center", fontsize=7, color=ink)
        label.set_path_effects([withStroke(linewidth=1.4, foreground=halo)])
        west, south, east, north = shape.bounds
        corners = axes.transData.transform([(west, south), (east, north)])
        extent = label.get_window_extent()
        if extent.width > 0.92 * (corners[1][0] - corners[0][0]) or extent.height > corners[1][1] - corners[0][1]:
            label.remove()


def _label_lines(axes: "Axes", moments: list[date], table: Any, order: list[str], few: bool) -> None:
    """Each line's name at its end, pushed apart so that none lies on another."""
    ends = [(name, _last(table[name].to_list())) for name in order]
    ends = [(name, value) for name, value in ends if value != -math.inf]
    if not ends:
        return
    low, high = axes.get_ylim()
    step, above = (high - low) * 0.062, math.inf
    for rank, (name, value) in enumerate(ends):
        at = min(value, above - step)
        above = at
        colour = _LINES[list(table.columns).index(name)] if few else _LINES[rank]
        axes.annotate(_short(name), (moments[-1], at), xytext=(10, 0), textcoords="offset points", va="center",
                      fontsize=8.5, color=colour, annotation_clip=False)  # fmt: skip


def _last(values: list[Any]) -> float:
    return next((value for value in reversed(values) if value == value), -math.inf)


def _titles(figure: "Figure", title: str, subtitle: str) -> None:
    top = 1 - 0.22 / figure.get_figheight()
    figure.text(0.03, top, title, fontsize=12.5, fontweight="bold", color=_INK, va="center")
    figure.text(0.03, top - 0.24 / figure.get_figheight(), subtitle, fontsize=8.5, color=_QUIET, va="center")


def _short(name: object) -> str:
    text = str(name).replace("$", r"\$")  # a pair of these would be taken for a formula
    return text if len(text) <= 22 else f"{text[:21]}…"


def _said(statistic: str) -> str:
    return {
        "stddev": "standard deviation",
        "nodata_share": "share without value",
        "outside_share": "share outside",
    }.get(statistic, statistic)


def _png(figure: "Figure") -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()
