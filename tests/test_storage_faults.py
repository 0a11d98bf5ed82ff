"""Storage that misbehaves: what may pass is tried again until the bytes are right; what may not is said plainly."""

import hashlib
import itertools
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loopback.gcs import GcsServer
from loopback.gcs_api import Reply, error_reply
from loopback.gcs_store import HttpError

from clearyear.completeness import check_plan
from clearyear.errors import ClearyearError, InputError, StoreError
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import find_plan, make_plan, prepare
from clearyear.publish import conclude, publish
from clearyear.reading import gdal
from clearyear.report import Report
from clearyear.stores import open_store
from clearyear.window import compute_window


def run(plan: Plan) -> Report:
    """What the flow does, without Prefect; what may pass is tried again, as its tasks do (but they only thrice)."""
    store = open_store(plan.destination)
    for status, window in zip(_again(lambda: check_plan(plan, store)), plan.windows, strict=True):
        if not status.is_done:
            _again(lambda w=window: compute_window(plan, w, store))
    statuses = _again(lambda: check_plan(plan, store))
    mosaic = _again(lambda: publish(plan, store, statuses))
    return _again(lambda: conclude(plan, store, statuses, mosaic))  # type: ignore[no-any-return]


def _again(act: Any) -> Any:
    for _ in range(12):
        try:
            return act()
        except ClearyearError as error:
            if not error.transient:
                raise
    return act()


class Weather:
    """Spoils a share of all requests, each in one of several ways, the same ones for the same seed."""

    def __init__(self, server: GcsServer, share: float, seed: int) -> None:
        self.server, self.share, self.rng = server, share, random.Random(seed)
        self.seen: dict[str, int] = {}
        self.answer = server._http.answer

    def __call__(self, request: Any) -> tuple[Reply, int | None]:
        reply, truncate = None, None
        with self.server._lock:
            spoiled = self.rng.random() < self.share
            how = self.rng.choice(("429", "500", "503", "reset", "cut", "slow", "drip"))
        if spoiled:
            self.seen[how] = self.seen.get(how, 0) + 1
            if how.isdigit():
                return error_reply(request, HttpError(int(how), "backendError", "weather")), None
            if how == "reset":
                raise ConnectionResetError
            truncate = 7 if how == "cut" else None
            if how == "slow":
                self.server._closed.wait(0.05)
        reply, cut = self.answer(request)
        if how == "drip" and spoiled:
            reply = replace(reply, drip=0.02)
        return reply, truncate if truncate is not None else cut


@pytest.fixture
def bucket(bucket: GcsServer, monkeypatch: pytest.MonkeyPatch) -> GcsServer:
    quick = {"GDAL_HTTP_MAX_RETRY": "8", "GDAL_HTTP_RETRY_DELAY": "0.01", "CLEARYEAR_RETRY_SECONDS": "0.01"}
    quick |= {"CLEARYEAR_REQUEST_SECONDS": "0.5", "GDAL_HTTP_LOW_SPEED_TIME": "1"}  # what drips is given up sooner
    for name, value in quick.items():
        monkeypatch.setenv(name, value)
    _hurry(monkeypatch)
    return bucket


def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's waits between tries, a second and more, shortened; how often it tries is left alone."""
    monkeypatch.setattr(
        "google.api_core.retry.retry_unary.exponential_sleep_generator", lambda *_, **__: itertools.repeat(0.01)
    )


def job(scenes: str, out: str) -> Job:
    return Job.model_validate(
        {"scenes": scenes, "period": "2023", "out": out, "tile_size": 32, "layers": ["count", "source"]}
    )


def _forget_what_was_read() -> None:
    """GDAL keeps datasets open, and their blocks; a read that asks nobody cannot go wrong."""
    for waiting in gdal._idle.values():
        for dataset in waiting:
            dataset.close()
    gdal._idle.clear()


def test_three_of_ten_requests_go_wrong_and_every_byte_is_right(
    bucket: GcsServer, scenes: Path, tmp_path: Path
) -> None:
    for path in scenes.glob("*.tif"):
        bucket.put("in", f"t31tcj/{path.name}", path.read_bytes())
    assert run(prepare(job("gs://in/t31tcj", "gs://out/calm"))).status == "complete"
    _forget_what_was_read()
    weather = bucket._http.answer = Weather(bucket, 0.3, seed=4)
    plan = _again(lambda: prepare(job("gs://in/t31tcj", "gs://out/rough")))
    report = run(plan)
    bucket._http.answer = weather.answer
    assert sum(weather.seen.values()) > 30
    assert (report.status, report.failed_reads) == ("complete", 0)
    assert len(weather.seen) == 7
    assert all(weather.seen.values()), weather.seen
    for key in bucket.keys("out"):
        if key.startswith("calm/") and key.endswith((".tif", ".jpg", ".sha256")):
            assert bucket.get("out", key.replace("calm/", "rough/", 1)) == bucket.get("out", key), key


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, "Not allowed to (read|write) gs://out"), (404, "The bucket of gs://out/.* does not exist")],
)
def test_a_bucket_closed_or_gone_in_the_middle(bucket: GcsServer, scenes: Path, status: int, words: str) -> None:
    """One sentence; when it is mended the same command goes on, and computes nothing twice."""
    plan = prepare(job(str(scenes), "gs://out/x"))
    store = open_store(plan.destination)
    compute_window(plan, plan.windows[0], store)
    answer = bucket._http.answer
    closed = HttpError(status, "notFound", "The specified bucket does not exist: out" if status == 404 else "closed")
    bucket._http.answer = lambda request: (error_reply(request, closed), None)
    with pytest.raises(InputError, match=words) as caught:
        compute_window(plan, plan.windows[1], store)
    assert not caught.value.transient
    assert "\n" not in str(caught.value)
    bucket._http.answer = answer
    first = bucket.get("out", f"x/luminance-median/2023--P1Y/{plan.tile_name(plan.windows[0])}")
    bucket.requests.clear()
    assert run(find_plan("gs://out/x")).status == "complete"
    assert bucket.get("out", f"x/luminance-median/2023--P1Y/{plan.tile_name(plan.windows[0])}") == first
    sent = [r for r in bucket.requests if r.path.startswith("/upload/") and plan.windows[0].id.encode() in r.body]
    assert sent == []


# -- a disk that is full -------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip("no file system may be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """Somebody else's file, which takes all room but so many bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        free = os.statvfs(disk)
        file.write(bytes(max(0, free.f_bavail * free.f_frsize - leave)))
    return ballast


def rasters(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*.tif"))}


@pytest.mark.parametrize("room", [0, 4096, 8192, 16384, 24576, 32768, 49152, 65536, 81920, 98304])
def test_a_disk_that_is_full_in_the_middle(small_disk: Path, scenes: Path, tmp_path: Path, room: int) -> None:
    """Wherever it happens: one sentence, nothing half-written under a final name, and with room again all is done."""
    whole = prepare(job(str(scenes), str(tmp_path / "whole")))
    assert run(whole).status == "complete"
    plan = prepare(job(str(scenes), str(small_disk / "out")))
    store = open_store(plan.destination)
    compute_window(plan, plan.windows[0], store)
    ballast = fill(small_disk, leave=room)
    with pytest.raises((InputError, StoreError)) as caught:
        run(plan)
    said = str(caught.value)
    assert re.search(r"No space left on device", said), said
    assert said.count("\n") == 0
    right = rasters(tmp_path / "whole")
    assert all(right[name] == digest for name, digest in rasters(Path(plan.destination)).items() if name in right)
    assert set(rasters(Path(plan.destination))) <= set(right) | {"x"}
    ballast.unlink()
    assert run(find_plan(str(small_disk / "out"))).status == "complete"
    assert rasters(small_disk / "out") == right
    assert not list(small_disk.rglob(".clearyear-tmp"))


def test_scenes_on_a_disk_that_goes_away(scenes: Path, tmp_path: Path) -> None:
    """Failed reads by name; with the scenes back the run goes on."""
    plan = make_plan(job(str(scenes), str(tmp_path / "out")))
    store = open_store(plan.destination)
    shutil.move(scenes, tmp_path / "away")
    with pytest.raises(
        ClearyearError, match=r"7 of 7 scenes could not be read: T31TCJ_20230115T104441_TCI \(.*No such"
    ):
        compute_window(plan, plan.windows[0], store)
    shutil.move(tmp_path / "away", scenes)
    assert compute_window(plan, plan.windows[0], store).status == "ok"
