"""The STAC item of a month: written last, it is the sign that the mosaic it speaks of is whole."""

import json
from typing import Any

import pystac

from clearyear.lights.layout import Layout
from clearyear.lights.report import MonthReport
from clearyear.periods import Period
from clearyear.stac import EXTENSIONS, common_properties, place_of, raster_fields
from clearyear.window import LayerFile


def make_month_item(
    stem: str,
    period: Period,
    layout: Layout,
    report: MonthReport,
    mosaic: LayerFile,
    *,
    month_id: str,
    nodata: float | None,
    preview: str,
) -> str:
    """The item as JSON.

    Args:
        stem: its id, ``<product>_<period>``.
        period: the month.
        layout: of the mosaic.
        report: which tiles are in it.
        mosaic: the published file.
        month_id: what the mosaic was made from; see ``month``.
        nodata: the mosaic's nodata tag.
        preview: the picture's file name.
    """
    item = pystac.Item(
        id=stem,
        **place_of(layout.grid, period),
        properties=_properties(layout, report, month_id),
        stac_extensions=list(EXTENSIONS),
    )
    item.add_asset("mosaic", _asset(layout, mosaic, nodata))
    item.add_asset("preview", pystac.Asset(href=f"./{preview}", media_type="image/jpeg", roles=["thumbnail"]))
    item.add_asset("report", pystac.Asset(href="./report.json", media_type="application/json", roles=["metadata"]))
    for tile in report.tiles:
        if tile.status == "ok":
            item.add_link(pystac.Link("derived_from", tile.address, title=tile.name))
    return json.dumps(item.to_dict(include_self_link=False, transform_hrefs=False), indent=1) + "\n"


def _properties(layout: Layout, report: MonthReport, month_id: str) -> dict[str, Any]:
    return {
        "title": f"{report.product}, {report.month.partition('--')[0]}",
        **common_properties(layout.grid),
        "processing:lineage": f"{report.n_ok} of {len(report.expected)} tiles of one month side by side, not resampled",
        "clearyear:month": month_id,
        "clearyear:complete": report.status == "complete",
        "clearyear:missing_tiles": report.missing,
    }


def _asset(layout: Layout, mosaic: LayerFile, nodata: float | None) -> pystac.Asset:
    header = layout.header
    return pystac.Asset(
        href=f"./{mosaic.name}",
        title="The month's tiles in one",
        media_type=pystac.MediaType.COG,
        roles=["data"],
        extra_fields=raster_fields(header.band_names, header.dtype, nodata, size=mosaic.size, sha256=mosaic.sha256),
    )
