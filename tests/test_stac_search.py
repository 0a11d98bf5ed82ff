"""Searches: the real static catalogue, a loopback API of real items, saved ones, and what hostile ones may not do."""

import json
import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import write_scene
from loopback.http import HttpServer, Reply, Request
from loopback.stac import CORE, SEARCH, StacApi
from runs import finished

from clearyear.area import read_area
from clearyear.budget import process_budget
from clearyear.errors import InputError, ReadError, StoreError
from clearyear.finding import find
from clearyear.job import Job, make_job
from clearyear.periods import parse_period
from clearyear.plan import Plan
from clearyear.prepare import check_scenes, make_plan, plan_at
from clearyear.scenes import catalog, signing, stac_api
from clearyear.scenes.items import Item
from clearyear.scenes.scene import Found, Scene
from clearyear.scenes.stac_io import WebIO
from clearyear.scenes.stac_query import StacQuery
from clearyear.scenes.stac_search import search_items
from clearyear.stores.remote import RemoteFile
from clearyear.views import save_view
from clearyear.window import reduce_window

AUGUST = ["S2B_33TWL_20230810_0_L2A", "S2B_33TWL_20230813_0_L2A", "S2A_33TWL_20230815_0_L2A",
          "S2A_33TWL_20230818_0_L2A", "S2B_33TWL_20230820_0_L2A"]  # fmt: skip
COLLECTION = "sentinel-2-l2a"

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def site2(data: Path) -> list[dict[str, Any]]:
    """Thirteen Planetary Computer items of June and July 2020."""
    path = data / "stac" / "odc-stac" / "site2-2020_jun_jul-35MNM.geojson"
    features: list[dict[str, Any]] = json.loads(path.read_text())["features"]
    return features


@pytest.fixture
def api(site2: list[dict[str, Any]]) -> Iterator[StacApi]:
    with StacApi(deepcopy(site2), [COLLECTION, "landsat-c2-l2"]) as running:
        yield running


@pytest.fixture
def real(data: Path) -> str:
    """The catalogue with pixels."""
    return str(data / "stac" / "earthsearch-33TWL" / "catalog.json")


def asked(url: str, period: str = "2020-06", **query: Any) -> list[Item]:
    search = StacQuery.model_validate({"url": url} | query)
    return search_items(search, parse_period(period), None if search.area is None else read_area(search.area))


def ids(items: list[Item]) -> list[str]:
    return [item.id for item in items]


def found_by(period: str = "2023-08", **job: Any) -> Found:
    return find(make_job({"out": "unused", "period": period, **job}), parse_period(period))


# -- a static catalogue on disk -----------------------------------------------------------------------------------


def test_the_real_catalogue_gives_scenes(real: str) -> None:
    found = found_by(stac={"url": real, "collections": COLLECTION}, bands=["red", "nir"], masks=["scl"])
    assert [scene.id for scene in found.scenes] == AUGUST
    assert (found.assets, found.nodata, found.scale, found.offset) == (("red", "nir"), 0.0, 0.0001, 0.0)
    scene = found.scenes[0]
    folder = Path(real).parent / COLLECTION / scene.id
    files = {name: folder / f"{band}.tif" for name, band in {"red": "B04", "nir": "B08", "scl": "SCL"}.items()}
    assert scene.assets == {name: str(path) for name, path in files.items()}
    assert scene.size == sum(path.stat().st_size for path in files.values())
    assert scene.versions["nir"] == f"{files['nir'].stat().st_mtime_ns}-{files['nir'].stat().st_size}"
    assert (scene.cloud_cover, scene.add, scene.places["scl"].width) == (69.286209, {}, 5490)


def test_a_catalogue_may_stand_as_scenes_and_bands_have_other_names(real: str) -> None:
    found = found_by(scenes=real, bands=["B04"], fuse="solar-day")
    assert found.assets == ("data",)
    assert [s.group for s in found.scenes][:2] == ["2023-08-10 sentinel-2b", "2023-08-13 sentinel-2b"]
    assert found.scenes[0].uri.endswith("B04.tif")


def test_a_search_narrows(real: str) -> None:
    assert ids(asked(real, "2023-08", query=["eo:cloud_cover<10"])) == [AUGUST[i] for i in (1, 2, 4)]
    assert ids(asked(real, "2023-08-13/2023-08-18", bbox="15,45,16,46")) == AUGUST[1:3]
    assert ids(asked(real, "all", max_items=2)) == AUGUST[:2]
    triangle = {"type": "Polygon", "coordinates": [[[15.5, 45.5], [15.6, 45.5], [15.6, 45.6], [15.5, 45.5]]]}
    assert ids(asked(real, "2023", intersects=triangle)) == AUGUST


@pytest.mark.parametrize(
    ("query", "period", "says"),
    [
        ({"collections": ["sentinel-2"]}, "2023", r"has no collection 'sentinel-2'\. Wanted: one of sentinel-2-l2a"),
        ({"bbox": "0,0,1,1"}, "2023", r"None of the 5 items .* lies in that area.* What to do: ask for another area\."),
        (
            {},
            "2022",
            r"None of the 5 items .* was taken in 2022--P1Y.* 2023-08-10 to 2023-08-20.*: ask for another period\.",
        ),
        (
            {"query": "eo:cloud_cover<0"},
            "2023",
            "None of the 5 items .* fulfils eo:cloud_cover<0.* leave out a --query",
        ),
        ({"intersects": "gone.geojson"}, "2023", r"gone\.geojson is neither four numbers nor a file"),
        ({"intersects": {"type": "Blob"}}, "2023", "The area of the job holds Blob"),
    ],
)
def test_nothing_found_says_why(real: str, query: dict[str, Any], period: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        asked(real, period, **query)


def test_a_band_no_item_has_is_named_with_those_there_are(real: str) -> None:
    with pytest.raises(InputError, match=r"5 of 5 items do not have every band: .*no 'purple'; it has aot, blue"):
        found_by(scenes=real, bands=["red", "purple"])
    with pytest.raises(InputError, match=r"no 'qa_pixel'; it has"):
        found_by(scenes=real, bands=["red"], masks=["qa_pixel"])


# -- an API ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("posts", [True, False], ids=["POST", "GET"])
def test_an_api_is_searched_page_by_page(api: StacApi, posts: bool) -> None:
    api.posts = posts
    found = asked(api.url, collections=COLLECTION, bbox="26.9,-8.3,28,-7.2", query="s2:nodata_pixel_percentage<10")
    assert [item.id[11:19] for item in found] == [f"202006{day:02}" for day in (1, 6, 11, 16, 21, 26)]
    assert len(api.searches()) == 3
    assert {a.method for a in api.requests if a.path.endswith("search")} == {"POST" if posts else "GET"}
    first = api.searches()[0]
    assert first["collections"] == [COLLECTION]
    assert first["datetime"] == "2020-06-01T00:00:00.000Z/2020-06-30T23:59:59.999Z"
    assert first["query"] == {"s2:nodata_pixel_percentage": {"lt": 10}}


def test_an_api_that_understands_less_gives_no_more(api: StacApi) -> None:
    api.conforms = (CORE, SEARCH)
    condition = {"collections": COLLECTION, "query": "eo:cloud_cover<0.1"}
    few = ids(asked(api.url, **condition))
    assert "query" not in api.searches()[0]
    api.conforms = (CORE, SEARCH, f"{SEARCH}#filter")
    api.requests.clear()
    assert ids(asked(api.url, **condition)) == few
    assert api.searches()[0]["filter"]["args"] == [{"op": "<", "args": [{"property": "eo:cloud_cover"}, 0.1]}]
    api.conforms = ()  # an old one, which links to its search and no more
    assert ids(asked(api.url, **condition)) == few
    assert 0 < len(few) < 6
    assert asked(api.url, **condition, max_items=1)  # though the first answer of the API is none that is meant


def test_no_more_is_asked_for_than_is_wanted(api: StacApi) -> None:
    found = asked(api.url, "2020", collections=COLLECTION, max_items=3)
    assert [item.id[11:19] for item in found] == ["20200721", "20200726", "20200731"]
    assert len(api.searches()) == 2


def test_what_passes_is_tried_again(api: StacApi) -> None:
    api.faults = [503, 429]
    assert len(asked(api.url, collections=COLLECTION)) == 6
    api.faults = [503] * 9
    with pytest.raises(StoreError, match=r"does not answer as it must \(HTTP response code: 503\)") as caught:
        asked(api.url, collections=COLLECTION)
    assert caught.value.transient


def test_a_refused_search_says_what_the_server_says_without_its_secrets(api: StacApi) -> None:
    api.faults = [400]
    with pytest.raises(InputError, match=r"refuses the request \(HTTP response code: 400\): injected") as caught:
        asked(api.url, collections=COLLECTION)
    assert "abc123" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "period", "says"),
    [
        (
            {"collections": "sentinel-2"},
            "2020",
            r"has no collection 'sentinel-2'\. Wanted: one of landsat-c2-l2, senti",
        ),
        ({}, "2020", r"No collection of .* is named\. Wanted: one of landsat-c2-l2, sentinel-2-l2a"),
        (
            {"collections": COLLECTION},
            "2019",
            "nothing of sentinel-2-l2a in 2019--P1Y.*; there are some at other times",
        ),
        ({"collections": COLLECTION, "bbox": "0,0,1,1"}, "2020", "nothing of sentinel-2-l2a in that area"),
        ({"collections": COLLECTION, "query": "eo:cloud_cover<0"}, "2020", "No item .* fulfils eo:cloud_cover<0"),
        ({"collections": "landsat-c2-l2"}, "2020", "has no item of landsat-c2-l2"),
    ],
)
def test_an_answer_of_nothing_is_explained(api: StacApi, query: dict[str, Any], period: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        asked(api.url, period, **query)


def test_a_search_without_end_has_one(api: StacApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.next_href = f"{api.url}/search"
    api.posts = False  # the same page again and again
    monkeypatch.setattr(stac_api, "MOST_ITEMS", 50)
    monkeypatch.setattr(stac_api._items, "__kwdefaults__", {"most": 50})
    with pytest.raises(InputError, match="has more than 50 answers"):
        asked(api.url, collections=COLLECTION)


def test_two_items_of_one_name_are_one_or_refused(api: StacApi) -> None:
    api.items.append(deepcopy(api.items[-1]))
    assert len(asked(api.url, collections=COLLECTION)) == 6
    api.items[-1]["properties"]["eo:cloud_cover"] = 99
    with pytest.raises(InputError, match=r"Two different items of .* are called S2A_MSIL2A_20200601"):
        asked(api.url, collections=COLLECTION)


# -- files of items, signed or not ------------------------------------------------------------------------------------


@pytest.fixture
def web(web: HttpServer, tmp_path: Path) -> HttpServer:
    path = write_scene(tmp_path / "one.tif", np.ones((1, 20, 30), np.uint16))
    web.files["/B04.tif"] = web.files["/SCL.tif"] = path.read_bytes()
    return web


def put_elsewhere(api: StacApi, base: str) -> None:
    """The items are the API's own, and their bands lie at ``base``."""
    for item in api.items:
        item["links"] = []
        for name in ("B04", "SCL"):
            item["assets"][name]["href"] = f"{base}/{name}.tif"


def test_from_an_api_to_scenes_and_again_from_what_was_saved(api: StacApi, web: HttpServer, tmp_path: Path) -> None:
    put_elsewhere(api, web.url)
    saved = tmp_path / "items.json"
    search = {"url": api.url, "collections": COLLECTION, "save_items": str(saved)}
    job: dict[str, Any] = {"bands": ["red"], "masks": ["scl"], "period": "2020-06"}
    found = found_by(stac=search, **job)
    assert [(s.assets["data"], s.assets["scl"]) for s in found.scenes] == [
        (f"{web.url}/B04.tif", f"{web.url}/SCL.tif")
    ] * 6
    assert {s.add.get("data", 0) for s in found.scenes} == {0}
    api.requests.clear()
    forms: tuple[dict[str, Any], ...] = (
        {"scenes": str(saved)},
        {"stac": {"url": str(saved), "collections": COLLECTION}},
    )
    for again in forms:
        assert found_by(**again, **job) == found
    assert not api.requests


def test_numbers_of_both_sides_of_the_baseline_are_brought_together(api: StacApi, web: HttpServer) -> None:
    put_elsewhere(api, web.url)
    for item in api.items[:3]:
        item["properties"]["s2:processing_baseline"] = "04.00"
    search = {"url": api.url, "collections": COLLECTION}
    found = found_by("2020", stac=search, bands=["B04"])
    assert [s.add for s in found.scenes] == [{}] * 10 + [{"data": -1000}] * 3
    assert (found.scale, found.offset) == (0.0001, 0.0)
    raw = found_by("2020", stac=search | {"harmonise": False}, bands=["B04"])
    assert ({len(s.add) for s in raw.scenes}, raw.scale) == ({0}, None)
    del api.items[0]["properties"]["s2:processing_baseline"], api.items[0]["properties"]["s2:product_uri"]
    api.items[0]["properties"]["s2:generation_time"] = "2023-01-01T00:00:00Z"
    with pytest.raises(InputError, match=r"What the numbers of S2A_MSIL2A_20200731\S+ mean cannot be told"):
        found_by("2020", stac=search, bands=["B04"])


def test_newest_processing_leaves_out_before_anything_is_read(api: StacApi, web: HttpServer) -> None:
    put_elsewhere(api, web.url)
    double = deepcopy(api.items[0])
    double["id"] += "_again"
    double["properties"]["s2:generation_time"] = "2024-01-01T00:00:00Z"
    api.items[0]["assets"]["B04"]["href"] = f"{web.url}/gone.tif"
    api.items.append(double)
    search = {"url": api.url, "collections": COLLECTION}
    found = found_by("2020-07", stac=search, bands=["red"], fuse="newest-processing")
    assert len(found.scenes) == 7
    assert found.scenes[-1].id == double["id"]
    with pytest.raises(InputError, match=r"1 of 8 files of the search in .* are not there: S2A_MSIL2A_20200731"):
        found_by("2020-07", stac=search, bands=["red"])


def test_signed_addresses_and_those_that_expired(
    api: StacApi, web: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_elsewhere(api, web.url)
    (tmp_path / "my_signing.py").write_text(
        "def sign(uri):\n    return uri + '?se=2020-01-01T00%3A00%3A00Z&sig=s3cret'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    search = {"url": api.url, "collections": COLLECTION, "sign": "my_signing:sign"}
    with pytest.raises(InputError, match="The signer my_signing:sign is code from the module my_signing, which"):
        found_by("2020-06", stac=search, bands=["red"])
    monkeypatch.setenv("CLEARYEAR_PLUGINS", "my_signing")
    scene = found_by("2020-06", stac=search, bands=["red"]).scenes[0]
    assert (scene.uri, scene.sign) == (f"{web.url}/B04.tif", "my_signing:sign")
    assert signing.address_of(scene, "data").endswith("sig=s3cret")
    web.fail("B04", 403, times=99)
    with pytest.raises(
        InputError, match=r"6 of 6 files .* may not be read: .*its signature expired at 2020-01-01"
    ) as e:
        found_by("2020-06", stac=search, bands=["red"])
    assert "s3cret" not in str(e.value)
    assert "run again" in e.value.do


@pytest.fixture
def signed(web: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HttpServer:
    """A server that answers to a signature only, and a signer; each signature is another one."""
    web.fail(r"^\w+ /(B04|SCL)\.tif( |$)", 403, times=1_000_000)
    (tmp_path / "my_numbers.py").write_text(
        "from itertools import count\nnumbers = count(1)\n"
        "def sign(uri):\n    return f'{uri}?sig=s3cret-{next(numbers)}-'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_numbers", raising=False)
    monkeypatch.setenv("CLEARYEAR_PLUGINS", "my_numbers")
    signing._signed.cache_clear()
    return web


def leaks(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_a_plan_keeps_who_signs_and_no_signature(
    api: StacApi, signed: HttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put_elsewhere(api, signed.url)
    caplog.set_level("DEBUG")
    out = tmp_path / "out"
    search = {"url": api.url, "collections": COLLECTION, "sign": "my_numbers:sign", "save_items": f"{out}/items.json"}
    job = {"stac": search, "bands": ["red"], "masks": ["scl"], "reducer": "band-median", "tile_size": 16}
    plan = finished("", out, period="2020-06", **job)
    save_view(plan, str(out / "plan-of-all.json"))
    assert not leaks(out)
    assert "s3cret" not in caplog.text
    assert (plan.scenes[0].uri, plan.scenes[0].sign) == (f"{signed.url}/B04.tif", "my_numbers:sign")
    assert json.loads((out / "plan-of-all.json").read_text())["id"] == plan.id
    process_budget(plan, plan.windows)  # looks at each file, too
    assert all("sig=" in request.target for request in signed.requests)

    # Hours later: whoever reads the plan needs signatures that hold then.
    ended = {number for request in signed.requests for number in re.findall(r"s3cret-(\d+)-", request.target)}
    signed.fail(rf"s3cret-({'|'.join(ended)})-", 403, times=1_000_000)
    monkeypatch.setattr(signing, "_KEEP_SECONDS", 1e-9)
    again = plan_at(plan.destination)
    check_scenes(again)
    found, _, failed = reduce_window(again, again.windows[0])
    assert not failed
    with rasterio.open(Path(plan.destination) / plan.tile_name(plan.windows[0])) as tile:
        assert found is not None
        assert np.array_equal(found["composite"], tile.read())

    with pytest.raises(ValueError, match="sign"):
        Scene.model_validate({**again.scenes[0].model_dump(), "sign": "os; import"})

    # One whose machine does not allow the signer reads nothing, and says why.
    monkeypatch.delenv("CLEARYEAR_PLUGINS")
    found, _, failed = reduce_window(again, again.windows[0])
    assert found is None
    assert len(failed) == 6
    assert "The signer my_numbers:sign is code from the module my_numbers" in failed[0].cause


def test_a_signature_of_the_users_own_stays_in_the_plan_alone(signed: HttpServer, tmp_path: Path) -> None:
    """Nobody could make another: the workers need it."""
    rows = [{"uri": f"{signed.url}/B04.tif?sig=s3cret", "id": "one", "datetime": "2023-01-01"}]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    out = tmp_path / "out"
    plan = finished(str(tmp_path / "list.json"), out, reducer="band-median", nodata=[7])
    save_view(plan, str(out / "plan-of-all.json"))
    assert leaks(out) == ["plan.json"]
    assert Plan.from_json((out / "plan-of-all.json").read_bytes()).id == plan.id


def test_the_planetary_computers_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[str] = []

    def answer(self: Any, href: str) -> str:
        asked_for.append(href)
        return json.dumps({"token": "sig=s3cret", "msft:expiry": "2999-01-01T00:00:00Z"})

    monkeypatch.setattr(WebIO, "read_text", answer)
    signing._token.cache_clear()
    sign = signing.signer("planetary-computer")
    blob = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/06/B04.tif"
    assert sign(blob) == sign(blob) == f"{blob}?sig=s3cret"
    assert asked_for == [f"{signing.PLANETARY_COMPUTER}/sentinel2l2a01/sentinel2-l2"]
    for other in ("https://example.org/x.tif", "https://blob.core.windows.net.evil.org/c/x.tif", f"{blob}?sig=mine"):
        assert sign(other) == other
    signing._token.cache_clear()
    monkeypatch.setattr(WebIO, "read_text", lambda self, href: "<html>")
    with pytest.raises(StoreError, match="gives no token for sentinel2l2a01/sentinel2-l2"):
        sign(blob)


# -- hostile and broken catalogues -----------------------------------------------------------------------------------


def test_a_server_sends_nobody_to_files_or_to_this_machine(api: StacApi, monkeypatch: pytest.MonkeyPatch) -> None:
    for href in ("file:///etc/passwd", "/etc/passwd", "http://169.254.169.254/latest"):
        api.next_href = href
        with pytest.raises(InputError, match=r"sends us to|is plain http"):
            asked(api.url, collections=COLLECTION)
    far = WebIO("https://example.org/v1")
    for href in (api.url, "http://localhost/x"):
        with pytest.raises(Exception, match="sends us to"):
            far.read_text(href)


def test_items_of_a_web_catalogue_name_no_file_here(api: StacApi) -> None:
    api.items[-1]["assets"]["B04"]["href"] = "file:///etc/passwd"
    with pytest.raises(InputError, match=r"names file:///etc/passwd, which is a file of this machine"):
        found_by("2020-06", stac={"url": api.url, "collections": COLLECTION}, bands=["red"])


def write(path: Path, document: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return str(path)


def link(rel: str, href: str) -> dict[str, str]:
    return {"rel": rel, "href": href}


def test_catalogues_that_go_in_circles_or_on_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item: Any = {"type": "Feature", "id": "a", "properties": {"datetime": "2020-06-01"}, "assets": {}}
    write(tmp_path / "item.json", item)
    links = [link("child", "./other.json"), link("item", "./item.json"), link("item", "./item.json"), link("x", "y")]
    root = write(tmp_path / "catalog.json", {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "links": links})
    write(tmp_path / "other.json", {"type": "Catalog", "id": "d", "links": [link("child", "catalog.json")]})
    assert ids(asked(root)) == ["a"]
    for n in range(40):
        write(
            tmp_path / f"deep{n}.json", {"type": "Catalog", "id": str(n), "links": [link("child", f"deep{n + 1}.json")]}
        )
    with pytest.raises(InputError, match="has more than 32 levels"):
        asked(str(tmp_path / "deep0.json"))
    monkeypatch.setattr(catalog, "MOST_DOCUMENTS", 3)
    wide = {"type": "Catalog", "id": "w", "links": [link("item", f"{n}.json") for n in range(9)]}
    with pytest.raises(InputError, match="has more than 3 documents"):
        asked(write(tmp_path / "wide.json", wide))


class ByQuery(HttpServer):
    """Files whose names have the query in them."""

    def _reply(self, request: Request, *, whole: bool) -> Reply:
        return super()._reply(replace(request, target=request.target.replace("?", "%3F")), whole=whole)


def test_items_that_differ_in_their_addresses_query_alone() -> None:
    with ByQuery() as web:
        for name in "ab":
            item = {"type": "Feature", "id": name, "properties": {"datetime": "2020-06-01"}, "assets": {}}
            web.files[f"/item?id={name}"] = json.dumps(item).encode()
            child = {"type": "Catalog", "id": name, "links": [link("item", f"item?id={name}")]}
            web.files[f"/{name}.json"] = json.dumps(child).encode()
        root = {"type": "Catalog", "id": "r", "links": [link("child", "a.json"), link("child", "b.json")]}
        web.files["/catalog.json"] = json.dumps(root).encode()
        assert ids(asked(f"{web.url}/catalog.json")) == ["a", "b"]


def test_collections_narrow_a_catalogue_whose_items_lie_beside_them(tmp_path: Path) -> None:
    for name, collection in {"a": {"collection": "A"}, "b": {"collection": "B"}, "c": {}}.items():
        item = {"type": "Feature", "id": name, "properties": {"datetime": "2020-06-01"}, "assets": {}}
        write(tmp_path / f"{name}.json", item | collection)
    write(tmp_path / "A.json", {"type": "Collection", "id": "A", "links": [link("item", "a.json")]})
    links = [link("child", "A.json"), link("item", "b.json"), link("item", "c.json")]
    root = write(tmp_path / "catalog.json", {"type": "Catalog", "id": "r", "links": links})
    assert ids(asked(root)) == ["a", "b", "c"]
    assert ids(asked(root, collections=["A"])) == ["a", "c"]


def told(folder: Path, *rasters: Any) -> dict[str, Any]:
    """A job of items that say this of their one band, whose files say nothing."""
    features = []
    for n, raster in enumerate(rasters, start=1):
        write_scene(folder / f"{n}.tif", np.ones((1, 16, 16), np.uint16), nodata=None)
        red = {"href": f"{n}.tif", "eo:bands": [{"name": "B04", "common_name": "red"}], "raster:bands": [raster]}
        dated = {"datetime": f"2023-08-0{n}"}
        features.append({"type": "Feature", "id": f"i{n}", "properties": dated, "assets": {"red": red}})
    scenes = write(folder / "s.json", {"type": "FeatureCollection", "features": features})
    return {"scenes": scenes, "bands": ["red"], "period": "2023-08", "reducer": "band-median", "out": str(folder / "o")}


def test_nodata_is_what_the_items_say_that_say_any(tmp_path: Path) -> None:
    job = told(tmp_path / "a", {"nodata": 0}, {})
    assert make_plan(make_job(job)).product.invalid_values == (0,)
    job = told(tmp_path / "b", {"nodata": 0}, {}, {"nodata": 7})
    says = r"do not agree on what nodata is, .*: 0 in i1 \(data\), 7 in i3 \(data\)\. Wanted.*--nodata 0"
    with pytest.raises(InputError, match=says):
        make_plan(make_job(job))
    assert make_plan(make_job(job | {"nodata": [7]})).product.invalid_values == (7,)


def test_one_asset_is_no_two_bands(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"The bands red and B04 are one, the asset red of i1\. Wanted: each"):
        make_plan(make_job(told(tmp_path, {}) | {"bands": ["red", "B04"]}))


def test_what_is_no_catalogue(tmp_path: Path) -> None:
    for document, says in (
        ([1], "is JSON, but not STAC"),
        ({"type": "Catalog", "links": [link("item", "gone.json")]}, r"gone\.json is not there"),
        ({"type": "Catalog", "links": "none"}, "it has no items"),
        ({"type": "FeatureCollection", "features": {}}, "holds no items"),
        ({"type": "FeatureCollection", "features": [{}]}, "has no id"),
    ):
        with pytest.raises(InputError, match=says):
            asked(write(tmp_path / "catalog.json", document))
    (tmp_path / "catalog.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        asked(str(tmp_path / "catalog.json"))
    with pytest.raises(InputError, match="is not there"):
        asked(str(tmp_path / "none.json"))


def test_a_catalogue_on_the_web_is_walked(web: HttpServer, data: Path) -> None:
    folder = data / "stac" / "earthsearch-33TWL"
    for path in folder.rglob("*.json"):
        web.files[f"/cat/{path.relative_to(folder)}"] = path.read_bytes()
    found = asked(f"{web.url}/cat/catalog.json", "2023")
    assert ids(found) == AUGUST
    assert found[0].base == f"{web.url}/cat/{COLLECTION}/{AUGUST[0]}/{AUGUST[0]}.json"
    web.fail("20230815", 404)
    with pytest.raises(InputError, match=r"20230815_0_L2A\.json refuses the request \(HTTP response code: 404\)"):
        asked(f"{web.url}/cat/catalog.json", "2023")


def test_a_job_has_one_source() -> None:
    with pytest.raises(InputError, match="'scenes' is missing"):
        make_job({"out": "x"})
    with pytest.raises(InputError, match="'scenes' and 'stac' both say where scenes are"):
        make_job({"out": "x", "scenes": "a", "stac": {"url": "b"}})
    assert Job(out="x", stac=StacQuery(url="b")).scenes == ""


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("se=2020-01-01T00%3A00%3A00Z&sig=x", "2020-01-01 00:00 UTC"),
        ("X-Amz-Date=20200101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=x", "2020-01-01 01:00 UTC"),
        ("X-Goog-Date=20200101T000000Z&X-Goog-Expires=60", "2020-01-01 00:01 UTC"),
        ("Expires=1577836800&Signature=x", "2020-01-01 00:00 UTC"),
        ("se=2999-01-01", ""),
        ("se=soon", ""),
        ("X-Amz-Date=20200101T000000Z", ""),
        ("sig=x", ""),
    ],
)
def test_a_signature_says_when_it_ended(web: HttpServer, query: str, says: str) -> None:
    uri = f"{web.url}/B04.tif?{query}"
    web.fail("B04", 403)
    with pytest.raises(ReadError) as caught:
        RemoteFile.of(uri, "1").fetch(0, 8)
    ending = f"; its signature expired at {says}" if says else ""
    assert caught.value.found == f"may not be read (HTTP response code: 403){ending}"
    assert not caught.value.transient
