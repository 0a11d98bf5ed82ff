"""What happens between two looks: another run, a passing fault, an end by force; nothing sound is lost or belied."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rasterio
from runs import finished

from clearyear import Report, in_process, publish, run
from clearyear.completeness import check_plan, check_window
from clearyear.errors import InputError, StoreError, WindowError
from clearyear.job import Job
from clearyear.plan import Plan
from clearyear.prepare import find_plan, prepare
from clearyear.publish import finish, join_windows, survey, validate
from clearyear.published import tiles_digest
from clearyear.stores import open_store
from clearyear.stores.local import LocalStore
from clearyear.window import compute_window

Make = Callable[..., Job]


@pytest.fixture
def job(scenes: Path, tmp_path: Path) -> Make:
    def made(**keys: Any) -> Job:
        return Job(**{"scenes": str(scenes), "period": "2023", "out": str(tmp_path / "out"), "tile_size": 16, **keys})

    return made


def windows_of(raster: str | None) -> str:
    with rasterio.open(str(raster)) as dataset:
        return str(dataset.tags()["CLEARYEAR_WINDOWS"])


def fails_once(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """The next read of a file of that name does not come through."""
    real = LocalStore.read
    met: list[str] = []

    def read(self: LocalStore, asked: str) -> bytes:
        if asked.endswith(name) and not met:
            met.append(asked)
            raise StoreError(f"Cannot read {asked}: it took too long", transient=True)
        return real(self, asked)

    monkeypatch.setattr(LocalStore, "read", read)
    return met


def after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, times: int, do: Callable[[], object]) -> None:
    """Have something happen when a function has been called so often."""
    real, calls = getattr(module, name), [0]

    def called(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        calls[0] += 1
        if calls[0] == times:
            do()
        return found

    monkeypatch.setattr(module, name, called)


def run_alone(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert run(job).status == "complete"


def test_a_tile_that_could_not_be_read_for_once_is_not_missing(job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = find_plan(str(Path(run(job()).destination)))
    met = fails_once(monkeypatch, "x00016_y00016.tif")
    with pytest.raises(StoreError) as caught:
        check_plan(plan, open_store(plan.destination))
    assert met
    assert caught.value.transient


def test_the_mosaic_task_joins_the_tiles_that_were_checked_and_no_others(done: Plan) -> None:
    from tasks.mosaic import mosaic

    store = open_store(done.destination)
    checked = tiles_digest(check_plan(done, store))
    assert mosaic.fn(done.destination, done.digest, checked)["layers"]
    store.remove(done.record_name(done.windows[5]))
    with pytest.raises(StoreError, match="are not those that the run has checked") as caught:
        mosaic.fn(done.destination, done.digest, checked)
    assert caught.value.transient


def test_a_window_more_makes_the_mosaic_anew(job: Make) -> None:
    first = run(job(select=["0:10"], allow_missing=True))
    assert (windows_of(first.mosaic), first.done) == ("10 of 12", 10)
    plan = find_plan(first.destination)
    compute_window(plan, plan.windows[10], open_store(plan.destination))
    assert survey(plan).problem == "the published mosaic is made of other tiles than lie there now"
    second = run(job(select=["10"], allow_missing=True))
    assert (windows_of(second.mosaic), second.done) == ("11 of 12", 11)


def test_a_tile_lost_since_leaves_the_mosaic_published(done: Plan) -> None:
    open_store(done.destination).remove(done.record_name(done.windows[5]))
    report = survey(done)
    assert (report.done, report.mosaic is not None, report.status) == (11, True, "incomplete")


def test_a_mosaic_that_another_run_has_put_in_its_place_is_not_called_complete(
    job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = run(job(select=["1:"], allow_missing=True))
    name = Path(str(partial.mosaic))
    old = name.read_bytes()
    after(monkeypatch, publish, "build_mosaic", 1, lambda: name.write_bytes(old))  # as if its writing came later
    with pytest.raises(StoreError, match="Another run has put its own files in place of"):
        run(job())
    assert not list(name.parent.glob("*.stac-item.json"))
    monkeypatch.undo()
    report = run(job())
    assert (report.status, windows_of(report.mosaic)) == ("complete", "12 of 12")


def test_a_window_that_is_done_keeps_its_record_when_it_fails_later(done: Plan) -> None:
    gone = Path(done.scenes[2].uri)
    gone.rename(gone.with_suffix(".away"))
    store = open_store(done.destination)
    with pytest.raises(WindowError):
        compute_window(done, done.windows[5], store)
    assert check_window(done, done.windows[5], store).is_done


def test_of_two_halves_at_once_the_first_leaves_the_second_s_result(job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Report] = []
    after(monkeypatch, in_process, "check_plan", 2, lambda: ended.append(run(job(select=["6:"]))))
    first = run(job(select=[":6"]))
    assert [report.status for report in (*ended, first)] == ["complete", "complete"]
    assert not validate(first.destination)


def test_a_run_whose_plan_is_replaced_while_it_looks_leaves_the_other_s_result(
    job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = job(layers=["count"], overwrite=True)
    after(monkeypatch, in_process, "check_plan", 2, lambda: run_alone(other, monkeypatch))
    with pytest.raises(InputError, match="is no longer the one this run began with"):
        run(job(select=[":6"]))
    assert survey(find_plan(other.out)).status == "complete"


def test_a_run_whose_plan_is_replaced_amid_its_windows_writes_no_more(
    job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = job(layers=["count"], overwrite=True)
    after(monkeypatch, in_process, "compute_windows", 2, lambda: run_alone(other, monkeypatch))
    with pytest.raises(InputError, match="is no longer the one this run began with"):
        run(job(workers=1))
    assert survey(find_plan(other.out)).status == "complete"


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_plan_that_could_not_be_read_for_once_is_no_other_plan(
    job: Make, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    destination = run(job()).destination
    met = fails_once(monkeypatch, "plan.json")
    with pytest.raises(StoreError) as caught:
        prepare(job(overwrite=overwrite))
    assert met
    assert caught.value.transient
    assert not validate(destination)


def test_what_is_not_of_a_run_outlives_an_overwrite(job: Make, tmp_path: Path) -> None:
    out = Path(run(job(layers=["count"])).destination)
    for name in ("notes.txt", "qgis/project.qgz", "src/T31TCJ_20230115T104441_TCI.tif", "tiles/legend.png"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.tif").write_text("mine")
    (out / "linked").symlink_to(tmp_path / "elsewhere")
    prepare(job(tile_size=32, overwrite=True))
    left = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    mine = {"notes.txt", "qgis/project.qgz", "src/T31TCJ_20230115T104441_TCI.tif", "tiles/legend.png"}
    assert mine < left
    assert not any("count" in name for name in left)
    assert {name for name in left - mine if "/" not in name} == {"plan.json", "windows.csv", "windows.geojson"}
    assert (tmp_path / "elsewhere" / "a.tif").exists()


def test_an_overwrite_that_was_cut_short_is_ended_by_the_next(job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Path(run(job(layers=["count"])).destination)
    real = LocalStore.remove
    removed: list[str] = []

    def remove(self: LocalStore, name: str, version: str | None = None) -> None:
        if len(removed) == 9:
            raise KeyboardInterrupt
        removed.append(name)
        real(self, name, version)

    monkeypatch.setattr(LocalStore, "remove", remove)
    with pytest.raises(KeyboardInterrupt):
        prepare(job(overwrite=True, tile_size=32))
    monkeypatch.undo()
    assert run(job(overwrite=True, tile_size=32)).status == "complete"
    assert not list(out.rglob("*count*"))


@pytest.mark.parametrize("harm", ["gone", "empty", "cut"])
def test_what_lies_beside_a_mosaic_is_made_anew(scenes: Path, tmp_path: Path, harm: str) -> None:
    plan = finished(scenes, tmp_path / "out")
    store = open_store(plan.destination)
    names = [plan.preview_name, f"{plan.stem}.sha256"]
    before = [store.read(name) for name in names]
    mosaic = Path(plan.destination) / plan.mosaic_name()
    stamp = mosaic.stat().st_mtime_ns
    for name in names:
        if harm == "gone":
            store.remove(name)
        else:
            store.write(name, b"" if harm == "empty" else store.read(name)[:-9])
    report = finish(plan, store, check_plan(plan, store), {w.id for w in plan.windows})
    assert report.status == "complete"
    assert [store.read(name) for name in names] == before
    assert mosaic.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("href", [5, None, {"a": 1}])
def test_an_item_that_makes_no_sense_is_made_anew(done: Plan, href: Any) -> None:
    store = open_store(done.destination)
    item = json.loads(store.read(done.item_name))
    item["assets"]["composite"]["href"] = href
    store.write(done.item_name, json.dumps(item).encode())
    assert survey(done).problem == f"{done.item_name} cannot be read"
    assert join_windows(done).status == "complete"
