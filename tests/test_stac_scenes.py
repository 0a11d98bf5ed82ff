"""From items to scenes: which bands and masks are meant, doubles of one observation, items of any shape."""

from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from stac_documents import Document, named, sentinel

from clearyear.errors import InputError
from clearyear.periods import parse_period
from clearyear.scenes.fuse import Look, fuse, look_of_item, look_of_name, newest
from clearyear.scenes.harmonise import Law, harmonise, law_of
from clearyear.scenes.items import (
    asset_of,
    cloud_cover_of,
    item_of,
    keeps,
    nodata_of,
    place_of,
    with_whole_addresses,
)
from clearyear.scenes.scene import Scene
from clearyear.scenes.stac_query import StacQuery, parse_condition, period_of_interval

# -- what is meant -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("eo:cloud_cover<40", True),
        ("eo:cloud_cover <= 12.5", True),
        ("properties.eo:cloud_cover>12.5", False),
        ("platform=sentinel-2a", True),
        ("platform != 'sentinel-2a'", False),
        ("s2:mgrs_tile=31TCJ", False),
        ("wrs=028", True),
        ("wrs>20", False),
        ("eo:cloud_cover=low", False),
        ("collection=l2a", True),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    item = {"collection": "l2a", "properties": {"eo:cloud_cover": 12.5, "platform": "sentinel-2a", "wrs": "028"}}
    assert parse_condition(text).holds(item) is holds


@pytest.mark.parametrize("text", ["eo:cloud_cover", "<40", "eo:cloud_cover<", "a<[1]"])
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match=r"condition|neither a number nor a text"):
        parse_condition(text)
    with pytest.raises(ValueError, match=r"condition|neither a number nor a text"):
        StacQuery(url="x", query=[text])


@pytest.mark.parametrize("box", ["1,2,3", "5,5,5,6", "1,6,2,5", "-181,0,1,1", "a,b,c,d"])
def test_what_is_no_box(box: str) -> None:
    with pytest.raises(ValueError, match="bbox"):
        StacQuery.model_validate({"url": "x", "bbox": box})


def test_stacs_interval_has_its_last_day_in_it() -> None:
    assert period_of_interval("2023-08") == "2023-08"
    assert period_of_interval("2023-08-01/2023-08-31") == "2023-08-01/2023-09-01"
    assert parse_period(period_of_interval("2023-08-01T00:00:00Z/2023-08-31T23:59:59Z")).label == "2023-08-01--P31D"
    for text in ("20230801/20230831", "2023-08-01/2023-08-31T23:59Z", "2023-08-01T00Z/20230831T23"):
        assert period_of_interval(text) == "2023-08-01/2023-09-01", text
    assert period_of_interval("20230801/20230831T120000.5+02:00") == "2023-08-01/2023-08-31T10:00:01Z"
    with pytest.raises(InputError, match="cannot be read"):
        period_of_interval("2023-08-01/..")


def test_areas_meet_footprints(data: Path) -> None:
    item = item_of(named(data, "S2B_33TWL"), "i.json")
    corner = shapely.box(15.0, 45.9, 15.02, 45.95)
    assert keeps(item, None, shapely.box(15.5, 45.5, 15.6, 45.6), ())
    assert not keeps(item, None, shapely.box(20, 45, 21, 46), ())
    bare = deepcopy(item.document)
    for geometry in (None, {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 1], [1, 0], [0, 0]]]}):
        bare["geometry"] = geometry
        assert keeps(item_of(bare, "i.json"), None, corner, ())  # by its box
    del bare["bbox"]
    assert keeps(item_of(bare, "i.json"), None, shapely.box(20, 45, 21, 46), ())  # it may; its pixels will tell


def test_a_footprint_across_180_degrees_in_one_ring(data: Path) -> None:
    ring = [[179.7, 0], [-179.98, 0], [-179.98, 0.32], [179.7, 0.32], [179.7, 0]]
    item = item_of(named(data, "S2B_33TWL") | {"geometry": {"type": "Polygon", "coordinates": [ring]}}, "i.json")
    assert keeps(item, None, shapely.box(179.75, 0.05, 179.95, 0.2), ())
    assert keeps(item, None, shapely.box(-179.995, 0.05, -179.99, 0.2), ())
    assert not keeps(item, None, shapely.box(179.75, 0.4, 179.95, 0.5), ())


# -- scenes of one observation -------------------------------------------------------------------------------------


def processed(base: Document, item_id: str, **properties: str) -> Document:
    return {**base, "id": item_id, "properties": {**base["properties"], **properties}}


def test_of_two_processings_the_newer_stays(data: Path) -> None:
    first = named(data, "S2B_33TWL_20230820")
    again = processed(first, "S2B_33TWL_20230820_1_L2A", **{"s2:processing_baseline": "05.10"})
    later = processed(first, "S2B_33TWL_20230820_2_L2A", **{"s2:generation_time": "2024-01-01T00:00:00Z"})
    lower = processed(
        first,
        "S2B_33TWL_20230820_3_L2A",
        **{"s2:datastrip_id": first["properties"]["s2:datastrip_id"].replace("S20230820T094908", "S20230820T094920")},
    )
    moment = item_of(first, "i.json").datetime
    looks = [look_of_item(item, moment) for item in (first, again, later, lower)]
    assert looks[0].granule == "33TWL"
    assert newest(looks) == [1, 3]  # the higher baseline; the other part of the pass is no double
    assert newest(looks[:1] + looks[2:3]) == [1]


def test_names_of_files_tell_as_much() -> None:
    esa = "S2A_MSIL2A_20230102T104441_N{}_R008_T31TCJ_{}"
    names = [esa.format("0400", "20230102T150000"), esa.format("0509", "20240101T000000"), "T31TCJ_20230102T104441_TCI"]
    landsat = "LC08_L1TP_013032_20180131_{}_01_{}"
    names += [landsat.format("20180131", "RT"), landsat.format("20180207", "T1")]
    looks = [look_of_name(name, datetime(2023, 1, 2, tzinfo=UTC)) for name in names]
    assert newest(looks) == [1, 2, 4]


def test_parts_of_a_pass_have_names_that_differ_in_the_last_time_alone() -> None:
    """The name's sensing is the datatake's; only another baseline tells that it is the same data made anew."""
    esa = "S2B_MSIL2A_20230102T105349_N{}_R051_T31TCJ_{}_TCI"
    names = [esa.format("0400", "20230102T110000"), esa.format("0400", "20230102T120000")]
    names += [esa.format("0509", "20230102T123456"), esa.format("0509", "20230102T131111")]
    looks = [look_of_name(name, datetime(2023, 1, 2, tzinfo=UTC)) for name in names]
    assert newest(looks) == [2, 3]
    assert newest(looks[::-1]) == [0, 1]
    assert newest(looks[:2]) == [0, 1]


def test_a_solar_day_is_one_observation_of_a_platform() -> None:
    def scene(name: str, hour: int) -> Scene:
        moment = datetime(2023, 6, 1, tzinfo=UTC).replace(hour=hour)
        return Scene(id=name, datetime=moment, assets={"data": name}, version="1", size=1)

    scenes = [scene("east", 23), scene("west", 1), scene("plain", 23), scene("other", 23)]
    looks = [
        Look(platform="a", longitude=151.0),
        Look(platform="a", longitude=-120.0),
        Look(platform="a"),
        Look(platform="b"),
    ]
    groups = [s.group for s in fuse(scenes, looks, "solar-day")]
    assert groups == ["2023-06-02 a", "2023-05-31 a", "2023-06-01 a", "2023-06-01 b"]
    assert [s.group for s in fuse(scenes, looks, "none")] == [""] * 4
    crossing = sentinel() | {"bbox": [179.0, 0.0, -177.0, 1.0]}
    assert look_of_item(crossing, scenes[0].datetime).longitude == -179.0


# -- items of any shape ----------------------------------------------------------------------------------------------

BANDS = [[1], ["a"], [[]], [None], [7], [{"name": 1}], [{"scale": 0, "offset": "x"}]]
JUNK = st.sampled_from([None, True, 0, -1, 10**400, float("nan"), float("inf"), "", "x", "..", "nan", [], {}, *BANDS])


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a document, down to numbers and words."""
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        found += places_in(part, (*path, key))
    return found


@pytest.mark.filterwarnings("ignore::RuntimeWarning:shapely")
@given(st.data())
@settings(max_examples=100)
def test_an_item_of_any_shape_is_used_or_refused(data: Path, draw: st.DataObject) -> None:
    document = named(data, draw.draw(st.sampled_from(["S2B_33TWL", "LC08_L2SR", "2aa69fcf"])))
    few = ("red", "scl", "SR_B4.TIF", "nbart_red")
    document["assets"] = {key: asset for key, asset in document["assets"].items() if key in few}
    for _ in range(draw.draw(st.integers(1, 4))):
        *way, last = draw.draw(st.sampled_from(places_in(document)))
        owner = document
        for step in way:
            owner = owner[step]
        owner[last] = deepcopy(draw.draw(JUNK))
    try:
        use(document)
    except (InputError, ValueError, LookupError) as error:
        # These are how Python says that nobody looked.
        assert not isinstance(error, KeyError | IndexError | UnicodeError), repr(error)  # noqa: PT017


def use(document: Document) -> None:
    """All that is done with an item."""
    item = item_of(document, "https://a.org/item.json")
    keeps(item, None, shapely.box(0, 0, 1, 1), [parse_condition("eo:cloud_cover<40")])
    look = look_of_item(item.document, item.datetime)
    newest([look, look])
    key, _ = asset_of(item, "red")
    place_of(item, key)
    nodata_of(item, key)
    cloud_cover_of(item)
    harmonise({"a": {"r": law_of(item.document, key)}, "b": {"r": Law(1e-4, 0.0)}})
    with_whole_addresses(item)
