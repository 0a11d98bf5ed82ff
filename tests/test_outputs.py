"""A file for each band, and a compression for each layer: put together from the tiles' own bytes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import write_scene
from runs import finished, plan_of

from clearyear import mosaic
from clearyear.cog.geotiff import problems
from clearyear.completeness import Status, check_plan
from clearyear.errors import InputError
from clearyear.job import Job, make_job
from clearyear.plan import Plan
from clearyear.prepare import make_plan
from clearyear.publish import survey, validate
from clearyear.stores import open_store

NAMES = ("B02", "../B03", "B04", "")


@pytest.fixture
def bands(tmp_path: Path) -> Path:
    """Four scenes of 600 × 400 px with four bands, one of whose names would leave the folder."""
    rng = np.random.default_rng(9)
    for month in range(1, 5):
        pixels = rng.integers(0, 3000, (4, 400, 600)).astype("uint16")
        path = write_scene(tmp_path / "s" / f"a_2023{month:02d}01.tif", pixels, blockxsize=256, blockysize=256)
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = NAMES
    return tmp_path / "s"


@pytest.fixture
def never_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the mosaic was encoded again")

    monkeypatch.setattr(mosaic, "_encode_once", refuse)


def read(plan: Plan, *files: str) -> Any:
    return np.concatenate([rasterio.open(Path(plan.destination) / plan.mosaic_name(f)).read() for f in files])


@pytest.mark.usefixtures("never_encoded")
def test_a_file_for_each_band(bands: Path, tmp_path: Path) -> None:
    job = {"reducer": "band-median", "layers": ["count"], "tile_size": 512}
    stacked = finished(bands, tmp_path / "a", **job)
    split = finished(bands, tmp_path / "b", **job, outputs="per-band")
    keys = ["B02", "B03", "B04", "band-4"]
    assert list(split.files) == [*keys, "count-B02", "count-B03", "count-B04", "count-4"]
    assert np.array_equal(read(split, *keys), read(stacked, "composite"))
    assert np.array_equal(read(split, *list(split.files)[4:]), read(stacked, "count"))
    assert [stacked.fingerprint(w) for w in stacked.windows] == [split.fingerprint(w) for w in split.windows]
    assert stacked.id != split.id
    folder = Path(split.destination)
    item = json.loads((folder / split.item_name).read_text())
    for key in split.files:
        path, asset = folder / split.mosaic_name(key), item["assets"][key]
        assert problems(str(path)) == []
        assert asset["file:checksum"] == f"1220{hashlib.sha256(path.read_bytes()).hexdigest()}"
        assert len(asset["bands"]) == 1
    assert item["assets"]["B04"]["bands"] == [{"name": "B04"}]
    report = survey(split)
    assert (report.status, report.mosaic) == ("complete", str(folder / split.mosaic_name("B02")))
    assert list(report.layers) == list(split.files)
    assert validate(split.destination) == []
    previews = [(Path(plan.destination) / plan.preview_name).read_bytes() for plan in (stacked, split)]
    assert previews[0] == previews[1]


def test_one_bands_tile_is_gone(bands: Path, tmp_path: Path) -> None:
    plan = finished(bands, tmp_path / "b", reducer="band-median", tile_size=512, outputs="per-band")
    (Path(plan.destination) / plan.tile_name(plan.windows[1], "B03")).unlink()
    statuses = check_plan(plan, open_store(plan.destination))
    assert [s.status for s in statuses] == [Status.OK, Status.MISSING]
    assert "B03.tif is gone" in statuses[1].cause


def test_names_of_bands_never_meet() -> None:
    """Whatever scenes call their bands, every band has a file, and none another layer's or the picture's."""
    names = ("count", "Count", "visual", "a/b", "a b", "..", "", "composite")
    product = plan_of().product.model_copy(
        update={"reducer": "band-median", "n_bands": 8, "band_names": names, "layers": ("composite", "count")}
    )
    plan = plan_of(product=product.model_copy(update={"outputs": "per-band"}))
    files = [name.lower() for name in map(plan.mosaic_name, plan.files)]
    assert len(set(files)) == len(files) == 16
    assert all("/" not in name and ".." not in name for name in files)
    assert not {plan.mosaic_name(key) for key in ("composite", "count", "visual")} & set(files)


@pytest.mark.usefixtures("never_encoded")
def test_a_compression_for_each_layer(bands: Path, tmp_path: Path) -> None:
    compress = {"composite": "zstd:19", "count": "lzw"}
    plan = finished(bands, tmp_path / "a", reducer="band-median", layers=["count"], tile_size=512, compress=compress)
    usual = finished(bands, tmp_path / "b", reducer="band-median", layers=["count"], tile_size=512)
    for layer, name in (("composite", "zstd"), ("count", "lzw")):
        with rasterio.open(Path(plan.destination) / plan.mosaic_name(layer)) as dataset:
            assert dataset.compression.name == name
        assert np.array_equal(read(plan, layer), read(usual, layer))
    assert [plan.fingerprint(w) for w in plan.windows] == [usual.fingerprint(w) for w in usual.windows]


def test_a_higher_level_is_smaller(tmp_path: Path) -> None:
    smooth = np.random.default_rng(4).integers(0, 5, (1, 256, 256)).cumsum(axis=2).astype("uint16")
    bands, sizes = write_scene(tmp_path / "s" / "a_20230101.tif", smooth).parent, []
    for level in ("deflate:1", "deflate:9"):
        plan = finished(bands, tmp_path / level, reducer="band-median", tile_size=512, compress=level)
        sizes.append((Path(plan.destination) / plan.mosaic_name()).stat().st_size)
    assert sizes[0] > sizes[1]


@pytest.mark.parametrize("value", ["zip", "lzw:3", "zstd:23", "zstd:", "deflate:0", {"count": "best"}])
def test_what_is_no_compression_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"Input should be 'deflate', 'zstd', 'lzw' or 'jpeg', or with a level"):
        make_job({"scenes": "s", "out": "o", "compress": value})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"compress": {"count": "lzw"}}, "compress names the layers count. Wanted: some of composite"),
        ({"compress": "jpeg", "outputs": "per-band"}, "JPEG cannot hold 3 bands of uint8 in a file each"),
        ({"compress": {"count": "jpeg"}, "layers": ["count"]}, "JPEG cannot hold the layer count"),
        ({"compress": "jpeg", "reducer": "percentiles"}, "JPEG cannot hold 9 bands of uint8"),
    ],
)
def test_what_cannot_be_written_so_is_refused(scenes: Path, values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        make_plan(Job(scenes=str(scenes), out="/nowhere", period="2023", **values))
    assert says in str(caught.value)
