"""The whole job with its scenes and its destination in a bucket, spoken to by the real clients over real sockets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import rasterio
from conftest import write_scene
from loopback.gcs import GcsServer

from clearyear.completeness import Status, check_plan
from clearyear.errors import InputError, ReadError, WindowError
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import check_scenes, find_plan, prepare
from clearyear.publish import conclude, publish, survey
from clearyear.reading.gdal import open_raster
from clearyear.report import Report
from clearyear.scenes import headers
from clearyear.stores import open_store
from clearyear.window import compute_window


@pytest.fixture
def bucket(bucket: GcsServer, quick: None) -> GcsServer:
    headers._known_header.cache_clear()  # this bucket counts its generations from the start; a real one does not
    return bucket


@pytest.fixture
def uploaded(bucket: GcsServer, scenes: Path) -> list[Path]:
    """Seven scenes in a bucket."""
    paths = sorted(scenes.glob("*.tif"))
    for path in paths:
        bucket.put("in", f"t31tcj/2023/{path.name}", path.read_bytes())
    return paths


def job(**changes: Any) -> Job:
    values = {"scenes": "gs://in/t31tcj", "period": "2023", "out": "gs://out/composites/", "tile_size": 32}
    return Job.model_validate(values | {"layers": ["count", "source"]} | changes)


def run(plan: Plan) -> Report:
    """What the flow does, without Prefect."""
    store = open_store(plan.destination)
    for status, window in zip(check_plan(plan, store), plan.windows, strict=True):
        if not status.is_done:
            compute_window(plan, window, store)
    statuses = check_plan(plan, store)
    return conclude(plan, store, statuses, publish(plan, store, statuses))


def mosaic(bucket: GcsServer, plan: Plan, layer: str = "composite") -> Any:
    data = bucket.get("out", f"composites/luminance-median/2023--P1Y/{plan.mosaic_name(layer)}")
    assert data is not None
    with rasterio.io.MemoryFile(data) as memory, memory.open() as dataset:
        return dataset.read()


def uploads(bucket: GcsServer) -> list[str]:
    """What was written, in order; conditional uploads name their object in the body."""
    sent = [r.body for r in bucket.requests if r.method == "POST" and r.path.startswith("/upload/")]
    heads = [json.loads(body.split(b"\r\n\r\n")[1].split(b"\r\n")[0]) for body in sent]
    return [head["name"].rpartition("/")[2] for head in heads]


def test_whole_job_in_buckets(bucket: GcsServer, uploaded: list[Path], tmp_path: Path) -> None:
    plan = prepare(job())
    assert plan.destination == "gs://out/composites/luminance-median/2023--P1Y"
    assert [s.uri for s in plan.scenes] == [f"gs://in/t31tcj/2023/{p.name}" for p in uploaded]
    report = run(plan)
    assert (report.status, report.ok, report.expected) == ("complete", 4, 4)
    assert report.mosaic == f"{plan.destination}/luminance-median_2023--P1Y.tif"
    composite, count, source = oracle.luminance_median(oracle.read_all(uploaded))
    assert np.array_equal(mosaic(bucket, plan), composite)
    assert np.array_equal(mosaic(bucket, plan, "count")[0], count)
    assert np.array_equal(mosaic(bucket, plan, "source")[0], source)
    assert survey(find_plan("gs://out/composites")).contract() == report.contract()


def test_what_lies_in_the_bucket_is_the_contract(bucket: GcsServer, uploaded: list[Path]) -> None:
    plan = prepare(job(layers=[]))
    run(plan)
    base = "composites/luminance-median/2023--P1Y/"
    stem = "luminance-median_2023--P1Y"
    corners = [f"x{x:05d}_y{y:05d}" for x in (0, 32) for y in (0, 32)]
    tiles = {f"tiles/{stem}_{corner}.{kind}" for corner in corners for kind in ("tif", "json")}
    views = {"plan.json", "windows.csv", "windows.geojson", "report.json", "report.md", "missing.csv", "tile_map.png"}
    published = {f"{stem}{end}" for end in (".tif", ".stac-item.json", ".sha256", "_preview.jpg")}
    leading = {"composites/catalog.json", "composites/luminance-median/collection.json"}
    assert set(bucket.keys("out")) == {base + name for name in tiles | views | published} | leading
    mine = [name for name in uploads(bucket) if name not in ("catalog.json", "collection.json")]
    assert mine[-1] == f"{stem}.stac-item.json"  # the sign of completion comes last; what leads to it follows


def test_second_run_finds_its_own_work(bucket: GcsServer, uploaded: list[Path]) -> None:
    run(prepare(job()))
    bucket.requests.clear()
    report = run(prepare(job()))
    assert report.status == "complete"
    assert not [name for name in uploads(bucket) if "_x0" in name]


def test_faults_on_the_way_change_nothing(bucket: GcsServer, uploaded: list[Path]) -> None:
    """503 and broken-off answers, on both sides and for both clients."""
    plan = prepare(job())
    bucket.fail(rf"GET /in/t31tcj/2023/{uploaded[2].name}", status=503, times=2)
    bucket.fail(rf"GET /in/t31tcj/2023/{uploaded[4].name}", status=500)
    bucket.fail(r"POST /upload/", status=503)
    bucket.fail(r"POST /upload/", truncate=0)
    bucket.fail(r"GET /download/.*x00032_y00000.tif", truncate=100)
    report = run(plan)
    assert (report.status, report.failed_reads) == ("complete", 0)
    composite, _, _ = oracle.luminance_median(oracle.read_all(uploaded))
    assert np.array_equal(mosaic(bucket, plan), composite)


@pytest.mark.parametrize("reader", ["auto", "gdal"])
@pytest.mark.parametrize("answered", [0, 1])
def test_scene_that_stays_unreachable_is_named_and_worth_another_try(
    bucket: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: int, reader: str
) -> None:
    """It does not open; or it does, with one request, and then its blocks do not come."""
    path = write_scene(tmp_path / "a_20230101.tif", np.ones((3, 150, 200), "uint8"), compress=None)
    bucket.put("in", "one/a_20230101.tif", path.read_bytes())
    plan = prepare(job(scenes="gs://in/one", tile_size=128))
    window, store = plan.windows[-1], open_store(plan.destination)
    bucket.fail("GET /in/one/a_20230101.tif", status=None, times=answered)
    bucket.fail("GET /in/one/a_20230101.tif", status=503, times=99)
    monkeypatch.setenv("CLEARYEAR_READER", reader)
    words = r"1 of 1 scenes could not be read: a_20230101 \(.*HTTP response code: 503"
    with pytest.raises(WindowError, match=words) as caught:
        compute_window(plan, window, store)
    assert caught.value.transient
    report = survey(plan)
    assert report.causes[window.id] == caught.value.found
    assert [(f.uri, f.windows) for f in report.failed_scenes] == [("gs://in/one/a_20230101.tif", 1)]


@pytest.mark.parametrize(("status", "again"), [(401, False), (403, False), (404, False), (429, True), (503, True)])
def test_what_the_bucket_answers_says_whether_to_try_again(
    bucket: GcsServer, uploaded: list[Path], status: int, again: bool
) -> None:
    """One scene, hence one thread: after a failed open GDAL may list the folder under a lock that closing needs too."""
    uri = f"gs://in/t31tcj/2023/{uploaded[2].name}"
    bucket.fail(rf"GET /in/t31tcj/2023/{uploaded[2].name}", status=status, times=99)
    with pytest.raises(ReadError, match=f"HTTP response code: {status}") as caught, open_raster(uri):
        pass
    assert caught.value.transient is again
    with pytest.raises(InputError, match=rf"1 of 1 scenes cannot be opened: {uploaded[2].stem} \(.*code: {status}\)"):
        prepare(job(scenes=[uri]))


def test_harm_in_the_bucket_is_found_and_repaired(bucket: GcsServer, uploaded: list[Path]) -> None:
    plan = prepare(job())
    run(plan)
    store = open_store(plan.destination)
    before = {name: bucket.get("out", name) for name in bucket.keys("out") if name.endswith(".tif")}
    lost, cut, damaged = (plan.tile_name(w) for w in plan.windows[:3])
    store.remove(lost)
    store.write(cut, store.read(cut)[:-50])
    store.write(damaged, store.read(damaged)[:-1] + b"\x55")
    report = survey(plan)
    assert (report.status, report.ok) == ("incomplete", 1)
    assert (report.missing, report.invalid) == ([plan.windows[0].id], [plan.windows[1].id, plan.windows[2].id])
    bucket.requests.clear()
    assert run(plan).status == "complete"
    records = {plan.record_name(w).removeprefix("tiles/") for w in plan.windows[:3]}
    assert {name for name in uploads(bucket) if "_x0" in name and name.endswith(".json")} == records
    assert {name: bucket.get("out", name) for name in before} == before


def test_new_generation_of_a_scene_is_another_plan(bucket: GcsServer, uploaded: list[Path], tmp_path: Path) -> None:
    """The same process, the same address: nothing of the old scene may be remembered."""
    plan = prepare(job())
    run(plan)
    brighter = write_scene(tmp_path / "b.tif", np.full((3, 40, 50), 200, "uint8"))
    for path in uploaded[:4]:
        path.write_bytes(brighter.read_bytes())
        bucket.put("in", f"t31tcj/2023/{path.name}", path.read_bytes())
    with pytest.raises(InputError, match=f"4 of 7 scenes are not what was planned: {uploaded[0].stem} has changed"):
        check_scenes(plan)
    with pytest.raises(InputError, match="already holds the run of another plan: 4 scenes changed"):
        prepare(job())
    again = prepare(job(overwrite=True))
    assert {s.status for s in check_plan(again, open_store(again.destination))} == {Status.STALE}
    assert not [key for key in bucket.keys("out") if key.endswith((".stac-item.json", "P1Y.tif"))]
    assert run(again).status == "complete"
    composite, _, _ = oracle.luminance_median(oracle.read_all(uploaded))
    assert np.array_equal(mosaic(bucket, again), composite)


def test_manifest_in_the_bucket(bucket: GcsServer, uploaded: list[Path]) -> None:
    """Its relative addresses are meant from its own place."""
    rows = [f"2023/{path.name},n{index}" for index, path in enumerate(uploaded[:3])]
    bucket.put("in", "t31tcj/some.csv", "\n".join(["uri,id", *rows]).encode())
    plan = prepare(job(scenes="gs://in/t31tcj/some.csv"))
    assert [(s.id, s.uri) for s in plan.scenes] == [
        (f"n{index}", f"gs://in/t31tcj/2023/{path.name}") for index, path in enumerate(uploaded[:3])
    ]
    assert run(plan).status == "complete"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scenes": "gs://nowhere/t31tcj"}, "The bucket of gs://nowhere/t31tcj/ does not exist"),
        ({"scenes": "gs://in/none"}, "No scenes: gs://in/none holds 0 files"),
        (
            {"scenes": ["gs://in/t31tcj/2023/none.tif"]},
            "1 of 1 scenes of the list are not there: gs://in/t31tcj/2023/none",
        ),
        ({"out": "gs://nowhere/x"}, "The bucket of gs://nowhere/x/luminance-median/2023--P1Y/.* does not exist"),
        ({"out": "s4://out/x"}, r"The address 's4://out/x.*' cannot be used"),
    ],
)
def test_wrong_addresses(bucket: GcsServer, uploaded: list[Path], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        prepare(job(**changes))
    assert caught.value.exit_code == 2
    assert bucket.keys("out") == []
