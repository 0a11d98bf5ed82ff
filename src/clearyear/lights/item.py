"""The STAC item of a month: written last, it is the sign that the mosaic it speaks of is whole."""

import json
from datetime import timedelta
from typing import Any

import pystac
from rasterio.crs import CRS

from clearyear import __version__
from clearyear.lights.layout import Layout
from clearyear.lights.report import MonthReport, now
from clearyear.periods import Period
from clearyear.stac import EXTENSIONS, bbox_of, wgs84_geometry
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
    geometry = wgs84_geometry(layout.grid.crs, layout.grid.corners())
    item = pystac.Item(
        id=stem,
        geometry=geometry,
        bbox=bbox_of(geometry) if geometry else None,
        datetime=None,
        start_datetime=period.start,
        end_datetime=period.end - timedelta(seconds=1),  # STAC's spans include their end
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
    crs = CRS.from_string(layout.grid.crs) if layout.grid.crs else None
    authority = crs.to_authority() if crs else None
    return {
        "title": f"{report.product}, {report.month.partition('--')[0]}",
        "created": now(),
        "proj:code": ":".join(authority) if authority else None,
        **({"proj:wkt2": crs.to_wkt(version="WKT2_2019")} if crs and not authority else {}),
        "proj:shape": [layout.grid.height, layout.grid.width],
        "proj:transform": list(layout.grid.transform),
        "processing:lineage": f"{report.n_ok} of {len(report.expected)} tiles of one month side by side, not resampled",
        "processing:software": {"clearyear": __version__},
        "clearyear:month": month_id,
        "clearyear:complete": report.status == "complete",
        "clearyear:missing_tiles": report.missing,
    }


def _asset(layout: Layout, mosaic: LayerFile, nodata: float | None) -> pystac.Asset:
    names = layout.header.band_names
    fields: dict[str, Any] = {
        "bands": [{"name": name or f"band-{number}"} for number, name in enumerate(names, start=1)],
        "data_type": layout.header.dtype,
        "file:size": mosaic.size,
        "file:checksum": f"1220{mosaic.sha256}",  # multihash: 0x12 = sha2-256, 0x20 = 32 bytes
    }
    if nodata is not None:
        fields["nodata"] = "nan" if nodata != nodata else nodata
    return pystac.Asset(
        href=f"./{mosaic.name}",
        title="The month's tiles in one",
        media_type=pystac.MediaType.COG,
        roles=["data"],
        extra_fields=fields,
    )
