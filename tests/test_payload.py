"""A worker's payload, as the course sends it: one window of these datasets, to that destination."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import write_scene
from loopback.gcs import GcsServer
from oracle import luminance_median, read_all
from rasterio.io import MemoryFile

from clearyear.errors import InputError, WindowError
from clearyear.payload import run_payload

Send = Callable[..., dict[str, Any]]
WINDOW = [10, 5, 30, 20]
"""Column, row, width, height: along no block's edge."""


@pytest.fixture
def datasets(scenes: Path) -> list[Path]:
    return sorted(scenes.glob("*.tif"))


@pytest.fixture
def send(tmp_path: Path, datasets: list[Path]) -> Send:
    def run(**changes: Any) -> dict[str, Any]:
        payload = {"datasets": [str(p) for p in datasets], "window": WINDOW, "destination": str(tmp_path / "w.tif")}
        path = tmp_path / "payload.json"
        path.write_text(json.dumps({**payload, **changes}))
        return run_payload(str(path))

    return run


def test_the_window_equals_the_oracle_and_lies_where_it_belongs(
    send: Send, datasets: list[Path], tmp_path: Path
) -> None:
    found = send()
    wanted, count, _ = luminance_median(read_all(datasets)[:, :, 5:25, 10:40])
    seen = float((count > 0).mean())
    assert found == {
        "id": "x00010_y00005",
        "status": "ok",
        "uri": str(tmp_path / "w.tif"),
        "valid_share": round(seen, 6),
        "scenes_used": 7,
    }
    with rasterio.open(tmp_path / "w.tif") as dataset:
        assert np.array_equal(dataset.read(), wanted)
        assert (dataset.crs.to_epsg(), dataset.nodata) == (32631, 0)
        assert tuple(dataset.transform)[:6] == (10, 0, 300100, 0, -10, 4899970)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["payload.json", "scenes", "w.tif"]


def test_the_order_of_the_datasets_does_not_matter(send: Send, datasets: list[Path], tmp_path: Path) -> None:
    send()
    first = (tmp_path / "w.tif").read_bytes()
    send(datasets=[str(p) for p in reversed(datasets)])
    assert (tmp_path / "w.tif").read_bytes() == first


@pytest.mark.parametrize("window", [[0, 0, 50, 40], [49, 39, 1, 1], [0, 39, 50, 1]])
def test_any_window_inside_the_grid(send: Send, tmp_path: Path, window: list[int]) -> None:
    assert send(window=window)["id"] == f"x{window[0]:05d}_y{window[1]:05d}"
    with rasterio.open(tmp_path / "w.tif") as dataset:
        assert [dataset.width, dataset.height] == window[2:]


def test_datasets_may_be_named_from_the_payloads_folder(send: Send, datasets: list[Path], tmp_path: Path) -> None:
    send()
    first = (tmp_path / "w.tif").read_bytes()
    send(datasets=[f"scenes/{p.name}" for p in datasets])
    assert (tmp_path / "w.tif").read_bytes() == first


def test_nothing_to_see_is_empty_not_an_error(send: Send, tmp_path: Path) -> None:
    path = write_scene(tmp_path / "dark_20230101.tif", np.zeros((3, 40, 50), np.uint8))
    found = send(datasets=[str(path)])
    assert (found["status"], found["valid_share"], found["scenes_used"]) == ("empty", 0.0, 1)
    with rasterio.open(tmp_path / "w.tif") as dataset:
        assert not dataset.read().any()


def test_from_bucket_to_bucket(send: Send, datasets: list[Path], bucket: GcsServer, tmp_path: Path) -> None:
    for path in datasets:
        bucket.put("in", f"2023/{path.name}", path.read_bytes())
    found = send(datasets=[f"gs://in/2023/{p.name}" for p in datasets], destination="gs://out/a/x00010_y00005.tif")
    assert found["uri"] == "gs://out/a/x00010_y00005.tif"
    assert bucket.keys("out") == ["a/x00010_y00005.tif"]
    data = bucket.get("out", "a/x00010_y00005.tif")
    assert data is not None
    with MemoryFile(data) as memory, memory.open() as dataset:
        assert np.array_equal(dataset.read(), luminance_median(read_all(datasets)[:, :, 5:25, 10:40])[0])


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": [40, 5, 11, 20]}, r"window \[40, 5, 11, 20\].*outside the grid of 50 × 40 px"),
        ({"window": [-1, 0, 5, 5]}, r"window \[-1, 0, 5, 5\].*outside the grid"),
        ({"window": [0, 0, 0, 5]}, r"window \[0, 0, 0, 5\].*outside the grid"),
        ({"window": [0, 0, 5]}, r"is not a worker's payload \(window\.3: Field required"),
        ({"window": [0, 0, 5, "x"]}, r"is not a worker's payload \(window\.3: "),
        ({"datasets": []}, r"payload\.json lists no datasets"),
        ({"datasets": ["/nowhere/a_20230101.tif"]}, r"1 of 1 scenes of the list are not there: /nowhere/a_20230101"),
        ({"destination": "s3://bucket/w.tif"}, "s3://bucket"),
        ({"destination": "/tmp/w.jpg"}, r"destination '/tmp/w\.jpg' names no GeoTIFF"),
        ({"destinations": "w.tif"}, r"is not a worker's payload \(destinations: Extra inputs"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_refused_in_words(send: Send, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        send(**changes)
    assert caught.value.wanted
    assert caught.value.do
    assert sorted(p.name for p in tmp_path.iterdir()) == ["payload.json", "scenes"]


@pytest.mark.parametrize("name", ["{0}/{1}", "file://{0}/{1}", "{0}/./{1}"])
def test_a_dataset_is_not_replaced(send: Send, datasets: list[Path], name: str) -> None:
    before = datasets[2].read_bytes()
    with pytest.raises(InputError, match="is one of the datasets"):
        send(destination=name.format(datasets[2].parent, datasets[2].name))
    assert datasets[2].read_bytes() == before


def test_a_damaged_dataset_is_named_and_nothing_is_written(send: Send, datasets: list[Path], tmp_path: Path) -> None:
    with rasterio.open(datasets[2]) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
        size = int(dataset.get_tag_item("BLOCK_SIZE_1_1", "TIFF", bidx=1))
    data = bytearray(datasets[2].read_bytes())
    data[offset : offset + size] = bytes(size)
    datasets[2].write_bytes(data)
    with pytest.raises(WindowError, match=rf"1 datasets could not be read: {datasets[2].stem} \(") as caught:
        send()
    assert (caught.value.window, caught.value.transient, caught.value.exit_code) == ("x00010_y00005", False, 1)
    assert not (tmp_path / "w.tif").exists()
    assert send(window=[0, 0, 16, 16])["scenes_used"] == 7, "another window does not touch that block"
