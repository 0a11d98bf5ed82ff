"""The catalogue of what is published: found by clients that know nothing of clearyear, and losing nothing."""

import json
import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pystac
import pystac_client
import pytest
import rasterio
from pystac.validation import validate_dict
from runs import finished

from clearyear import catalog
from clearyear.catalog import write_catalog
from clearyear.errors import InputError
from clearyear.prepare import find_plan
from clearyear.publish import join_windows
from clearyear.stores.local import LocalStore


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products, one of them for two periods."""
    from conftest import random_pixels, write_scene
    from numpy.random import default_rng

    folder = tmp_path_factory.mktemp("published")
    for month, pixels in enumerate(random_pixels(default_rng(7), (4, 3, 40, 50)), start=3):
        write_scene(folder / "scenes" / f"T31TCJ_2023{month:02d}15T104441_TCI.tif", pixels)
    for period in ("2023-03--P2M", "2023-05--P2M"):
        finished(folder / "scenes", folder / "out", period=period)
    finished(folder / "scenes", folder / "out", reducer="band-median", naming="year-{start:%Y}")
    return folder / "out"


@pytest.fixture
def out(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "moved"))


def test_pystac_finds_every_item_and_every_file(out: Path) -> None:
    found = pystac.Catalog.from_file(str(out / "catalog.json"))
    assert [c.id for c in found.get_collections()] == ["band-median", "luminance-median"]
    items = list(found.get_items(recursive=True))
    assert [i.id for i in items] == ["year-2023", "luminance-median_2023-03--P2M", "luminance-median_2023-05--P2M"]
    for item in items:
        assert item.get_root() is found
        collection, parent = item.get_collection(), item.get_parent()
        assert collection is not None
        assert parent is not None
        assert collection.id == parent.id == item.collection_id
        for asset in item.get_assets().values():
            assert Path(asset.get_absolute_href() or "").exists()
        with rasterio.open(item.assets["composite"].get_absolute_href()) as dataset:
            assert dataset.shape == (40, 50)


def test_an_unmodified_client_opens_it(out: Path) -> None:
    client = pystac_client.Client.open(str(out / "catalog.json"))
    collection = client.get_child("luminance-median")
    assert collection is not None
    assert [item.id for item in collection.get_items()] == [
        "luminance-median_2023-03--P2M",
        "luminance-median_2023-05--P2M",
    ]


def test_it_is_valid_and_self_contained(out: Path) -> None:
    for path in [*out.glob("*.json"), *out.glob("*/*.json"), *out.glob("*/*/*.stac-item.json")]:
        document = json.loads(path.read_text())
        validate_dict({**document, "stac_extensions": []})
        for link in document["links"]:
            if link["rel"] != "derived_from":
                assert (path.parent / link["href"]).resolve().is_file(), (path, link)


def test_extents_are_those_of_the_items(out: Path) -> None:
    collection = json.loads((out / "luminance-median" / "collection.json").read_text())
    item = json.loads(next(out.glob("luminance-median/*/*.stac-item.json")).read_text())
    assert collection["extent"]["spatial"]["bbox"] == [item["bbox"]]
    assert collection["extent"]["temporal"]["interval"] == [["2023-03-01T00:00:00Z", "2023-06-30T23:59:59Z"]]


@pytest.mark.parametrize(
    ("boxes", "whole"),
    [
        ([[1, 2, 3, 4], [0, 3, 2, 5]], [0, 2, 3, 5]),
        ([[170, -5, -170, 5], [0, 3, 2, 6]], [-180, -5, 180, 6]),  # one crosses 180°
        ([], [-180, -90, 180, 90]),
    ],
)
def test_the_box_round_all_boxes(boxes: list[list[float]], whole: list[float]) -> None:
    assert catalog._whole(boxes) == whole


def test_a_withdrawn_item_leaves_it(out: Path) -> None:
    gone = out / "luminance-median" / "2023-03--P2M"
    shutil.rmtree(gone / "tiles")
    join_windows(find_plan(str(gone)))
    links = json.loads((out / "luminance-median" / "collection.json").read_text())["links"]
    assert [link["href"] for link in links if link["rel"] == "item"] == [
        "./2023-05--P2M/luminance-median_2023-05--P2M.stac-item.json"
    ]
    last = out / "band-median" / "year-2023"
    shutil.rmtree(last / "tiles")
    join_windows(find_plan(str(last)))
    assert not (out / "band-median" / "collection.json").exists()
    links = json.loads((out / "catalog.json").read_text())["links"]
    assert [link["href"] for link in links if link["rel"] == "child"] == ["./luminance-median/collection.json"]


def test_an_item_that_comes_while_it_is_written_is_not_lost(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run publishes, and writes its catalogue, between our listing and our writing."""
    late = out / "luminance-median" / "2023-05--P2M"
    late.rename(out / "elsewhere")
    write = LocalStore.write

    def interrupted(store: LocalStore, name: str, data: bytes) -> None:
        if name == "luminance-median/collection.json" and not late.exists():
            (out / "elsewhere").rename(late)
            write_catalog(str(out))
        write(store, name, data)

    monkeypatch.setattr(LocalStore, "write", interrupted)
    assert write_catalog(str(out))["collections"] == {"band-median": 1, "luminance-median": 2}
    assert "2023-05--P2M" in (out / "luminance-median" / "collection.json").read_text()


def test_many_at_once_lose_nothing(out: Path) -> None:
    item = next((out / "luminance-median" / "2023-05--P2M").glob("*.stac-item.json"))

    def publish(number: int) -> Any:
        folder = out / "luminance-median" / f"p{number}"
        folder.mkdir()
        shutil.copy(item, folder / f"p{number}.stac-item.json")
        return write_catalog(str(out))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(publish, range(16)))
    links = json.loads((out / "luminance-median" / "collection.json").read_text())["links"]
    assert sum(link["rel"] == "item" for link in links) == 18
    assert not (out / ".clearyear-tmp").exists()


def test_an_item_that_cannot_be_read_is_left_out(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    next((out / "band-median").glob("*/*.stac-item.json")).write_text('{"type": "Feature"}')
    assert write_catalog(str(out))["collections"] == {"luminance-median": 2}
    assert "year-2023.stac-item.json is left out" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bbox": ["a", 1, 2, 3]}, "could not convert"),
        ({"bbox": [1, 2, 3]}, "its bbox is"),
        ({"bbox": [1, 2, math.nan, 4]}, "its bbox is"),
        ({"start_datetime": "2023-01-01T00:00:00"}, "no time zone"),
    ],
)
def test_an_item_of_somebody_elses_does_no_harm(
    out: Path, changes: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    there = next((out / "band-median").glob("*/*.stac-item.json"))
    document = json.loads(there.read_text())
    (document if "bbox" in changes else document["properties"]).update(changes)
    there.write_text(json.dumps(document))
    assert write_catalog(str(out))["collections"] == {"luminance-median": 2}
    assert words in caplog.text


def test_a_box_with_heights_is_one_without(out: Path) -> None:
    write_catalog(str(out))
    collection = out / "band-median" / "collection.json"
    before = json.loads(collection.read_text())
    there = next((out / "band-median").glob("*/*.stac-item.json"))
    document = json.loads(there.read_text())
    west, south, east, north = document["bbox"]
    there.write_text(json.dumps({**document, "bbox": [west, south, -10, east, north, 8000]}))
    write_catalog(str(out))
    assert json.loads(collection.read_text())["extent"] == before["extent"]


def test_a_catalogue_nested_too_deeply_is_somebody_elses(out: Path) -> None:
    (out / "catalog.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"catalog\.json is not a catalogue of clearyear"):
        write_catalog(str(out))


def test_somebody_elses_catalogue_is_not_replaced(out: Path) -> None:
    (out / "catalog.json").write_text('{"type": "Catalog", "id": "theirs"}')
    with pytest.raises(InputError, match=r"catalog\.json is not a catalogue of clearyear"):
        write_catalog(str(out))
    assert json.loads((out / "catalog.json").read_text())["id"] == "theirs"


def test_nothing_to_catalogue_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no published result"):
        write_catalog(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_result_outside_its_folders_gets_no_catalogue_above(out: Path) -> None:
    alone = out.parent / "alone"
    (out / "luminance-median" / "2023-05--P2M").rename(alone)
    join_windows(find_plan(str(alone)))
    assert not list(out.parent.glob("*.json"))
