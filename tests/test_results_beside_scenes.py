"""Results that lie among the scenes are no scenes: the same command goes on, and no mosaic becomes a scene."""

from pathlib import Path

import numpy as np
import pytest
from conftest import write_scene
from loopback.gcs import GcsServer
from runs import finished

from clearyear.errors import InputError
from clearyear.job import Job
from clearyear.prepare import make_plan
from clearyear.scenes.files import listing_of


def scenes_in(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    for month in (1, 5, 9):
        write_scene(folder / f"s_2023{month:02d}15_TCI.tif", rng.integers(60, 90, (3, 40, 40), dtype=np.uint8))
    return folder


@pytest.mark.parametrize("period", ["2023", "2023-01-01/2023-06-15"])
def test_the_same_command_goes_on(tmp_path: Path, period: str) -> None:
    """The name of the second period's mosaic tells a date, as a scene's does."""
    scenes = scenes_in(tmp_path / "data")
    first = finished(scenes, scenes / "out", period=period, layers=["count"], tile_size=16)
    again = make_plan(Job(scenes=str(scenes), period=period, out=str(scenes / "out"), layers=["count"], tile_size=16))
    assert again.id == first.id
    of_year = make_plan(Job(scenes=str(scenes), period="2023", out=str(tmp_path / "other")))
    assert [scene.id for scene in of_year.scenes] == ["s_20230115_TCI", "s_20230515_TCI", "s_20230915_TCI"]


def test_bands_in_files(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for band in ("B02", "B03"):
        write_scene(data / f"s_20230115_{band}.tif", np.full((1, 40, 40), 70, np.uint16))
    job = {
        "pattern": "*_{band}.tif",
        "bands": ["B02", "B03"],
        "reducer": "band-median",
        "outputs": "per-band",
        "tile_size": 16,
    }
    first = finished(data, data / "out", period="2023-01-01/2023-06-15", **job)
    values = {"scenes": str(data), "period": "2023-01-01/2023-06-15", "out": str(data / "out"), **job}
    assert make_plan(Job.model_validate(values)).id == first.id


def test_nothing_but_results(tmp_path: Path) -> None:
    run = Path(finished(scenes_in(tmp_path / "data"), tmp_path / "out").destination)
    for folder, place in ((run, r"\."), (tmp_path / "out", "luminance-median/2023--P1Y")):
        with pytest.raises(InputError, match=rf"holds \d files beside the results of clearyear in {place}, none of"):
            make_plan(Job(scenes=str(folder), period="2023", out=str(tmp_path / "second")))
    # Who means them names them.
    mosaic = run / "luminance-median_2023--P1Y.tif"
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"uri,datetime\n{mosaic},2023-01-01\n")
    assert len(make_plan(Job(scenes=str(manifest), period="2023", out=str(tmp_path / "second"))).scenes) == 1


def test_a_plan_of_someone_else_s(tmp_path: Path) -> None:
    scenes = scenes_in(tmp_path / "data")
    (scenes / "plan.json").write_text("{}")
    assert len(make_plan(Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"))).scenes) == 3


@pytest.mark.parametrize("left", ["windows.csv", "report.json", "luminance-median_2023--P1Y.stac-item.json"])
def test_a_result_whose_tiles_are_gone(tmp_path: Path, left: str) -> None:
    for name in ("s_20230115_TCI.tif", "out/luminance-median_2023-06-01--P10D.tif", "out/plan.json", f"out/{left}"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    listing = listing_of(str(tmp_path))
    assert ([entry.name for entry in listing.entries], listing.results) == (["s_20230115_TCI.tif"], ("out",))


def test_in_a_bucket(tmp_path: Path, bucket: GcsServer) -> None:
    scenes = scenes_in(tmp_path / "data")
    finished(scenes, tmp_path / "data" / "out", period="2023-01-01/2023-06-15")
    for path in sorted(p for p in scenes.rglob("*") if p.is_file()):
        bucket.put("in", f"year/{path.relative_to(scenes)}", path.read_bytes())
    listing = listing_of("gs://in/year")
    assert [entry.name for entry in listing.entries if entry.name.endswith(".tif")] == [
        f"s_2023{month:02d}15_TCI.tif" for month in (1, 5, 9)
    ]
    assert listing.results == ("out/luminance-median/2023-01-01--P165D",)
