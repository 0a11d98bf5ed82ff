"""Items as the world has them: bands by any name, laws of numbers, places, addresses, doubles."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from stac_documents import Document, documents, named, sentinel

from clearyear.errors import InputError
from clearyear.scenes.band_names import asset_key, is_raster, is_sentinel_2, number_of
from clearyear.scenes.harmonise import Law, baseline_of, harmonise, law_of
from clearyear.scenes.items import (
    asset_of,
    item_of,
    nodata_of,
    place_of,
    resolve,
    with_whole_addresses,
)

# -- every real item --------------------------------------------------------------------------------------------


def test_every_item_parses_or_is_refused_with_its_cause(data: Path) -> None:
    found, refused = 0, {}
    for document in documents(data):
        item = item_of(document, "https://example.org/item.json")
        try:
            key, uri = asset_of(item, "red")
        except (LookupError, InputError) as error:
            refused[item.id] = str(error)
            continue
        found += 1
        place = place_of(item, key)
        assert uri.startswith(("https://", "s3://"))
        assert place is not None
        assert place.crs.startswith("EPSG:")
    assert found == 33
    assert sorted(refused) == [
        "2aa69fcf-aa55-4747-9d95-3652f9fe79b0",
        "3af1acae-0255-4762-b2b2-f26034cf3ce8",
        "lidar_id",
    ]
    assert "is plain http" in refused["2aa69fcf-aa55-4747-9d95-3652f9fe79b0"]
    assert "no 'red'; it has BS_PC_10" in refused["3af1acae-0255-4762-b2b2-f26034cf3ce8"]
    assert "no 'red'; it has dem" in refused["lidar_id"]


@pytest.mark.parametrize(
    ("start", "name", "key"),
    [
        ("S2B_33TWL", "red", "red"),  # Earth Search v1: keys are common names, each twice
        ("S2B_33TWL", "B04", "red"),
        ("S2B_33TWL", "B8A", "nir08"),
        ("S2B_33TWL", "SCL", "scl"),
        ("S2A_28QCH", "red", "B04"),  # Earth Search v0: no bands at all
        ("S2A_28QCH", "scl", "SCL"),
        ("S2B_MSIL2A_20190629", "red", "B04"),  # Planetary Computer
        ("S2B_MSIL2A_20190629", "rededge1", "B05"),
        ("S2B_MSIL2A_20190629", "nir", "B08"),
        ("S2B_MSIL2A_20190629", "TCI", "visual"),
        ("LC08_L2SP_028030", "nir", "nir08"),  # USGS
        ("LC08_L2SP_028030", "B5", "nir08"),
        ("LE07_L2SP", "B3", "red"),
        ("LE07_L2SP", "SR_B3", "red"),
        ("LC08_L2SR", "red", "SR_B4.TIF"),  # USGS, STAC 0.9: numbers into the item's bands
        ("LC08_L2SR", "qa_pixel", "QA_PIXEL.TIF"),
        ("2aa69fcf", "red", "nbart_red"),  # Digital Earth Australia
        ("2aa69fcf", "swir16", "nbart_swir_1"),
        ("2aa69fcf", "fmask", "oa_fmask"),
    ],
)
def test_a_band_is_found_by_any_name_it_has(data: Path, start: str, name: str, key: str) -> None:
    assert asset_key(named(data, start), name) == key


def test_a_name_that_several_bands_have_is_refused(data: Path) -> None:
    with pytest.raises(LookupError, match="'rededge' may be B05, B06, B07, B8A"):
        asset_key(named(data, "S2B_MSIL2A_20190629"), "rededge")


def test_assets_that_are_no_rasters(data: Path) -> None:
    item = item_of(named(data, "LC08_L2SP_028030"), "https://example.org/i.json")
    with pytest.raises(LookupError, match="its 'index' is text/html"):
        asset_of(item, "index")
    assert is_raster({"href": "https://a/b.TIF?sig=1"})
    assert is_raster({"href": "x", "type": "image/jp2"})
    assert not is_raster({"href": "x.tif", "type": "application/json"})
    assert not is_raster({"href": "x.vrt"})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": None}, "no id"),
        ({"assets": []}, "no assets"),
        ({"properties": {"datetime": "soon"}}, "its datetime is 'soon'"),
        ({"properties": {"datetime": None}}, "its datetime is None"),
        ({"assets": {"red": {"title": "x"}}}, "its asset red has no href"),
        ({"assets": {"red": "x"}}, "its asset red has no href"),
    ],
)
def test_what_is_no_item_is_refused(change: Document, says: str) -> None:
    with pytest.raises(InputError, match=says):
        item_of(sentinel() | change, "i.json")
    with pytest.raises(InputError, match="cannot be used"):
        item_of([1], "i.json")


def test_an_interval_counts_by_its_start(data: Path) -> None:
    assert item_of(named(data, "lidar_id"), "i.json").datetime == datetime(2012, 1, 1, tzinfo=UTC)


# -- what numbers mean: each row of the table -------------------------------------------------------------------

TAKEN_OUT, BASELINE = "earthsearch:boa_offset_applied", "s2:processing_baseline"
HELD = {"scale": 0.0001, "offset": -0.1}
NOT_HELD = {"scale": 0.0001, "offset": 0}


@pytest.mark.parametrize(
    ("properties", "band", "add"),
    [
        ({TAKEN_OUT: True, BASELINE: "05.09"}, HELD, 0),  # items in the wild: never twice
        ({TAKEN_OUT: True, BASELINE: "05.09"}, None, 0),
        ({TAKEN_OUT: True}, NOT_HELD, 0),
        ({"sentinel:boa_offset_applied": True, "sentinel:processing_baseline": "04.00"}, None, 0),
        ({TAKEN_OUT: False, BASELINE: "04.00"}, None, -1000),
        ({TAKEN_OUT: False, BASELINE: "04.00"}, NOT_HELD, -1000),
        ({TAKEN_OUT: False, BASELINE: "03.01"}, None, 0),
        ({TAKEN_OUT: False, BASELINE: "03.01"}, HELD, 0),
        ({BASELINE: "04.00"}, None, -1000),  # Planetary Computer
        ({BASELINE: "05.10"}, HELD, -1000),
        ({BASELINE: "03.01"}, None, 0),
        ({BASELINE: "02.12"}, NOT_HELD, 0),
        ({"s2:product_uri": "S2A_MSIL2A_20230102T104441_N0509_R008_T31TCJ_20230102T150000.SAFE"}, None, -1000),
        ({"sentinel:product_id": "S2A_MSIL2A_20200714T115221_N0214_R123_T28QCH_20200714T191310"}, None, 0),
        ({TAKEN_OUT: False}, HELD, -1000),
        ({}, HELD, -1000),
        ({}, NOT_HELD, 0),
        ({"created": "2021-06-01T00:00:00Z"}, None, 0),
        ({"s2:generation_time": "2022-01-24T23:59:59Z", "updated": "2024-01-01T00:00:00Z"}, None, 0),
    ],
)
def test_the_offset_is_taken_out_once(properties: Document, band: Document | None, add: int) -> None:
    assert law_of(sentinel(properties, band), "red") == Law(0.0001, 0.0, add)


@pytest.mark.parametrize(
    ("properties", "band", "says"),
    [
        ({BASELINE: "04.00"}, NOT_HELD, r"its baseline is 04\.00, yet its band says the offset is 0"),
        ({BASELINE: "03.01"}, HELD, r"its baseline is 03\.01, yet its band says the offset is -0\.1"),
        ({}, None, "neither its processing baseline nor"),
        ({TAKEN_OUT: False, "created": "2023-01-01T00:00:00Z"}, None, "neither its processing baseline nor"),
    ],
)
def test_what_cannot_be_told_is_refused(properties: Document, band: Document | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        law_of(sentinel(properties, band), "red")


def test_the_real_items_laws(data: Path) -> None:
    assert law_of(named(data, "S2B_33TWL"), "red") == Law(0.0001, 0.0, 0)
    assert law_of(named(data, "S2B_33TWL"), "aot") == Law(0.001, 0.0, 0)
    assert law_of(named(data, "S2B_33TWL"), "scl") == Law()
    assert law_of(named(data, "S2A_28QCH"), "B04") == Law(0.0001, 0.0, 0)
    assert baseline_of(named(data, "S2A_28QCH")) == (2, 14)
    assert law_of(named(data, "LC08_L2SP_028030"), "red") == Law()
    assert not is_sentinel_2(named(data, "LC08_L2SP_028030"))
    assert [number_of(named(data, "S2B_33TWL"), key) for key in ("red", "nir08", "visual", "scl")] == [
        "B04",
        "B8A",
        "",
        "",
    ]


def test_laws_in_the_words_of_stac_1_1() -> None:
    item = sentinel({"platform": "landsat-9"}, item_id="LC09_x")
    item["properties"].pop("s2:product_type")
    item["assets"]["red"] |= {"bands": [{"name": "B4", "raster:scale": 2.75e-05, "raster:offset": -0.2}], "nodata": 0}
    assert law_of(item, "red") == Law(2.75e-05, -0.2, 0)
    assert nodata_of(item_of(item, "i.json"), "red") == 0
    item["assets"]["red"] = {"href": "x.tif", "raster:scale": 0.5}
    assert law_of(item, "red") == Law(0.5, 0.0, 0)


@pytest.mark.parametrize("key", ["bands", "raster:bands"])
def test_an_asset_whose_bands_differ_has_no_one_law(key: str) -> None:
    item = sentinel({"platform": "landsat-9"}, item_id="LC09_x")
    item["properties"].pop("s2:product_type")
    one, other = ({"raster:scale": 0.01, "nodata": 0}, {"raster:scale": 0.5, "raster:offset": 7, "nodata": -1})
    for bands, law, nodata in (([one, other], Law(), None), ([one, one], Law(0.01, 0.0), 0), ([one, {}], Law(), 0)):
        item["assets"]["red"] = {"href": "x.tif", key: bands}
        assert (law_of(item, "red"), nodata_of(item_of(item, "i.json"), "red")) == (law, nodata)


def test_offsets_that_differ_by_whole_steps_are_brought_together() -> None:
    found = harmonise({s: {"red": Law(1e-4, o)} for s, o in {"a": 0.0, "b": -0.1, "c": 0.0}.items()})
    assert (found.add, found.scale, found.offset) == ({"a": {}, "b": {"red": -1000}, "c": {}}, 1e-4, 0.0)
    # Two and two: the order of the scenes decides nothing.
    pairs = {"a": -0.1, "b": 0.0}
    assert harmonise({s: {"r": Law(1e-4, o)} for s, o in pairs.items()}).offset == 0.0
    assert harmonise({s: {"r": Law(1e-4, o)} for s, o in reversed(pairs.items())}).offset == 0.0


def test_laws_that_differ_otherwise_are_refused_by_name() -> None:
    for other in (Law(2e-4, 0.0), Law(1e-4, 0.00005), Law()):
        with pytest.raises(InputError, match=r"The band red is number × .* in c, but number × 0\.0001 \+ 0 in a"):
            harmonise({"a": {"red": Law(1e-4, 0.0)}, "b": {"red": Law(1e-4, 0.0)}, "c": {"red": other}})


def test_bands_of_unlike_laws_have_none_together() -> None:
    found = harmonise({"a": {"red": Law(1e-4, 0.0), "wvp": Law(1e-3, 0.0)}})
    assert (found.scale, found.offset, found.add) == (None, None, {"a": {}})


# -- addresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("href", "base", "found"),
    [
        ("B04.tif", "/data/cat/a/item.json", "/data/cat/a/B04.tif"),
        ("../B04.tif", "/data/cat/a/item.json", "/data/cat/B04.tif"),
        ("/other/B04.tif", "/data/cat/item.json", "/other/B04.tif"),
        ("file:///other/B04.tif", "/data/cat/item.json", "/other/B04.tif"),
        ("https://a.org/B04.tif", "/data/cat/item.json", "https://a.org/B04.tif"),
        ("./b/B04.tif", "https://a.org/c/item.json", "https://a.org/c/b/B04.tif"),
        ("../B04.tif?sig=1", "https://a.org/c/d/item.json?x=2", "https://a.org/c/B04.tif?sig=1"),
        ("/B04.tif", "https://a.org/c/item.json", "https://a.org/B04.tif"),
        ("s3://bucket/B04.tif", "https://a.org/c/item.json", "s3://bucket/B04.tif"),
        ("../B04.tif", "s3://bucket/c/item.json", "s3://bucket/B04.tif"),
        ("../../../B04.tif", "gs://bucket/c/item.json", "gs://bucket/B04.tif"),
    ],
)
def test_addresses_are_meant_from_their_document(href: str, base: str, found: str) -> None:
    assert resolve(href, base) == found


@pytest.mark.parametrize(
    ("href", "base"),
    [
        ("file:///etc/passwd", "https://a.org/item.json"),
        ("file:///etc/passwd", "s3://bucket/item.json"),
        ("http://127.0.0.1:80/x.tif", "https://a.org/item.json"),
        ("http://169.254.169.254/latest", "https://a.org/item.json"),
        ("https://user:word@a.org/x.tif", "https://a.org/item.json"),
        ("ftp://a.org/x.tif", "https://a.org/item.json"),
        ("..\\x.tif", "https://a.org/item.json"),
        ("data:image/tiff;base64,AAAA", "https://a.org/item.json"),
    ],
)
def test_a_strangers_catalogue_names_no_file_of_ours(href: str, base: str) -> None:
    with pytest.raises(InputError):
        resolve(href, base)


def test_a_file_of_ours_may_name_our_files_whatever_it_says_of_itself() -> None:
    base = "https://a.org/c/item.json"
    assert resolve("/data/B04.tif", base, is_ours=True) == "/data/B04.tif"
    assert resolve("file:///data/B04.tif", base, is_ours=True) == "/data/B04.tif"
    assert resolve("B04.tif", base, is_ours=True) == "https://a.org/c/B04.tif"


def test_saved_items_mean_the_same_elsewhere(tmp_path: Path) -> None:
    item = item_of(sentinel(), str(tmp_path / "i.json"))
    saved = with_whole_addresses(item)
    assert saved["assets"]["red"]["href"] == str(tmp_path / "B04.tif")
    signed = sentinel()
    signed["assets"]["red"]["href"] = "https://a.org/B04.tif?sig=s3cret"
    signed["assets"]["hostile"] = {"href": "file:///etc/passwd"}
    found = with_whole_addresses(item_of(signed, "https://a.org/i.json"))
    assert found["assets"] == {"red": {"href": "https://a.org/B04.tif"}}


# -- places ------------------------------------------------------------------------------------------------------


def test_places_by_transform_box_or_not_at_all(data: Path) -> None:
    item = item_of(named(data, "S2B_33TWL"), "i.json")
    place = place_of(item, "red")
    assert place is not None
    assert (place.crs, place.width, place.height) == ("EPSG:32633", 10980, 10980)
    assert list(place.transform) == [10, 0, 499980, 0, -10, 5100000]
    other = sentinel({"proj:code": "EPSG:32631", "proj:shape": [100, 50], "proj:bbox": [0, 0, 500, 1000]})
    by_box = place_of(item_of(other, "i.json"), "red")
    assert by_box is not None
    assert [*by_box.transform, by_box.width] == [10, 0, 0, 0, -10, 1000, 50]
    shapes = [{"proj:shape": [0, 50]}, {"proj:shape": [1 << 30, 50]}]
    for broken in (*shapes, {"proj:bbox": [0, 0, 0, 0]}, {"proj:bbox": "x"}, {"proj:code": None}):
        assert place_of(item_of(sentinel(other["properties"] | broken), "i.json"), "red") is None
