"""What a job file may say shortly: as people write YAML, and as the flags of the same name take it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from clearyear.errors import InputError
from clearyear.job import Job
from clearyear.job_file import load_job
from clearyear.options import read_job
from clearyear.prepare import make_plan

HERE = {"scenes": "here", "out": "there"}


def of_file(tmp_path: Path, text: str) -> Job:
    path = tmp_path / "job.yaml"
    path.write_text(f"scenes: here\nout: there\n{text}\n")
    return load_job(str(path))


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("period: 2021", "period", "2021"),
        ("period: 2023-06-01", "period", "2023-06-01"),  # YAML makes a date of it
        ("period: '2023-06--P3M'", "period", "2023-06--P3M"),
        ("layers: count", "layers", ["count"]),
        ("layers: count, source", "layers", ["count", "source"]),
        ("layers: [source]", "layers", ["source"]),
        ("nodata: 0", "nodata", [0.0]),
        ("nodata: none", "nodata", []),
        ("nodata:", "nodata", None),
        ("saturated: []", "saturated", []),
        ("saturated: 255, 254", "saturated", [255.0, 254.0]),
        ("bands: red,nir", "bands", ["red", "nir"]),
        ("select: fields, north.geojson", "select", ["fields, north.geojson"]),
    ],
)
def test_what_stands_for_what(tmp_path: Path, line: str, key: str, value: Any) -> None:
    assert getattr(of_file(tmp_path, line), key) == value


def test_a_mask_may_stand_without_its_list(tmp_path: Path) -> None:
    (mask,) = of_file(tmp_path, "masks: scl=clouds, 2023").masks
    assert (mask.asset, mask.source) == ("scl", "clouds, 2023")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("period: true", "period = True: "),
        ("period: 2021.5", "period = 2021.5: "),
        ("nodata: true", "nodata = True: "),
        ("saturated: nothing", "saturated.0 = 'nothing': "),
        ("layers: counts", "layers.0 = 'counts': Input should be 'count' or 'source'"),
    ],
)
def test_what_does_not(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        of_file(tmp_path, line)
    assert says in caught.value.found


def test_flags_take_the_same(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({**HERE, "saturated": 254}))
    assert read_job(str(path), {}).saturated == [254.0]
    for text in ("none", ""):
        assert read_job(str(path), {"saturated": text, "nodata": text}).saturated == []
    found = read_job(None, {**HERE, "layers": "count, source", "nodata": "0,7", "bands": "red, nir"})
    assert (found.layers, found.nodata, found.bands) == (["count", "source"], [0.0, 7.0], ["red", "nir"])


def test_none_lets_every_bright_sample_count(scenes: Path) -> None:
    keys: dict[str, Any] = {"scenes": str(scenes), "period": 2023, "out": "there"}
    assert make_plan(Job(**keys)).product.invalid_values == (0.0, 255.0)
    assert make_plan(Job.model_validate({**keys, "saturated": "none"})).product.invalid_values == (0.0,)
