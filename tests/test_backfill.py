"""A product over many periods: each complete or named, and nothing done twice."""

import hashlib
import json
import time
from pathlib import Path
from threading import Barrier, Lock
from typing import Any, get_args

import pystac
import pytest
from click.testing import CliRunner
from harness import Prefect

from clearyear.area import read_area
from clearyear.backfill import (
    ALLOW_EMPTY,
    PeriodResult,
    conclude_backfill,
    failure_of,
    jobs_of,
    period_standing,
    result_of,
)
from clearyear.cli import main
from clearyear.errors import InputError, NoScenesError, StoreError
from clearyear.job import Job
from clearyear.periods import FREQUENCIES, Period, parse_period
from clearyear.prepare import find_plan, prepare
from clearyear.progress import watched_by
from clearyear.publish import join_windows
from clearyear.scenes.stac_query import StacQuery
from clearyear.scenes.stac_search import search_items
from clearyear.stores import open_store
from clearyear.window import compute_window

QUARTERS = ["2023-01--P3M", "2023-04--P3M", "2023-07--P3M", "2023-10--P3M"]


@pytest.fixture
def job(scenes: Path, tmp_path: Path) -> Job:
    """Of the seven scenes, one on the 15th of each month, the first quarters have 3, 3, 1 and 0."""
    return Job(scenes=str(scenes), out=str(tmp_path / "out"), tile_size=32, layers=["count"])


def run(job: Job, **arguments: Any) -> Any:
    from flows.backfill import backfill

    return backfill(job, **{"span": "2023", "frequency": "quarterly", **arguments}, return_state=True)


def outcome(state: Any) -> dict[str, Any]:
    found = state.result(raise_on_failure=False)
    return dict(getattr(found, "outcome", found))


def states(state: Any) -> list[str]:
    found = outcome(state)["periods"]
    assert [result["period"] for result in found] == QUARTERS
    return [result["state"] for result in found]


def digests(folder: str) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in Path(folder).rglob("*.tif")}


def stamps(folder: str) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in Path(folder).rglob("*.tif")}


# -- in one process ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("prefect_server")
def test_complete_periods_are_checked_and_left(job: Job, tmp_path: Path) -> None:
    state = run(job, allow_empty=True)
    assert state.name == "Completed", state.message
    assert states(state) == ["complete", "complete", "complete", "no scenes"]
    assert state.message.startswith("3 of 4 periods are complete; 1 no scenes")
    catalogue = pystac.Catalog.from_file(f"{job.out}/catalog.json")
    assert [i.properties["title"][-12:] for i in catalogue.get_items(recursive=True)] == QUARTERS[:3]

    before, times = digests(job.out), stamps(job.out)
    broken = next(Path(job.out, "luminance-median", QUARTERS[1], "tiles").glob("*_x00032_y00000.tif"))
    broken.write_bytes(b"X" + broken.read_bytes()[1:])
    again = run(job, allow_empty=True)
    assert states(again) == ["complete", "complete", "complete", "no scenes"]
    assert [result["there"] for result in outcome(again)["periods"]] == [True, False, True, False]
    assert digests(job.out) == before
    changed = {name for name, time in stamps(job.out).items() if time != times[name]}
    assert {name for name in changed if "tiles" in name} == {
        f"luminance-median/{QUARTERS[1]}/tiles/{broken.name}",
        f"luminance-median/{QUARTERS[1]}/tiles/{broken.stem}_count.tif",
    }

    elsewhere = job.model_copy(update={"out": str(tmp_path / "side by side")})
    assert states(run(elsewhere, allow_empty=True, at_once=3)) == ["complete", "complete", "complete", "no scenes"]
    assert digests(elsewhere.out) == before


@pytest.mark.usefixtures("prefect_server")
def test_a_period_that_fails_stops_the_rest_or_is_named_in_the_end(job: Job, poisoned: Path) -> None:
    from prefect.artifacts import Artifact

    stopped = run(job)
    assert stopped.is_failed()
    assert states(stopped) == ["incomplete", "not begun", "not begun", "not begun"]
    assert f"{QUARTERS[0]}: x00000_y00000" in stopped.message
    assert all("--continue-on-failure" in period["command"] for period in outcome(stopped)["periods"][1:])

    on = run(job, continue_on_failure=True)
    assert on.is_failed()
    assert states(on) == ["incomplete", "complete", "complete", "no scenes"]
    first, *_, last = outcome(on)["periods"]
    assert (first["done"], first["expected"]) == (3, 4)
    assert first["command"].startswith(f"replace {poisoned.stem}, and run the same job again with --overwrite ")
    assert "was taken in 2023-10--P3M" in last["cause"]
    artifact: Any = Artifact.get("backfill-periods")
    rows = json.loads(artifact.data)
    assert [row["state"] for row in rows] == ["incomplete", "complete", "complete", "no scenes"]
    assert list(rows[0]) == ["period", "state", "windows", "cause", "command"]

    allowed = run(job.model_copy(update={"allow_missing": True}), allow_empty=True)
    assert (allowed.type.value, allowed.name) == ("COMPLETED", "CompletedWithMissing")
    assert states(allowed) == ["incomplete", "complete", "complete", "no scenes"]
    assert outcome(allowed)["periods"][0]["mosaic"]


@pytest.mark.usefixtures("prefect_server")
def test_a_period_without_a_report_has_failed(job: Job) -> None:
    """Its plan is well made, and then its run is refused."""
    found = run(job.model_copy(update={"memory_limit": 500_000_000}))
    assert found.is_failed()
    assert states(found) == ["failed", "not begun", "not begun", "not begun"]
    first = outcome(found)["periods"][0]
    assert (first["exit_code"], first["good_enough"]) == (2, False)
    assert "500 MB" in first["cause"]


@pytest.mark.usefixtures("prefect_server")
def test_the_command_says_what_became_of_each_period(job: Job) -> None:
    values = ["--scenes", str(job.scenes), "--out", job.out, "--tile-size", "32", "--naming", "rgb-{start:%Y-%m}"]
    span = ["--span", "2023-06/2023-09", "--frequency", "monthly", "--continue-on-failure"]
    dry = CliRunner().invoke(main, ["backfill", *values, *span, "--dryrun", "--json"])
    assert dry.exit_code == 0, dry.output
    assert json.loads(dry.stdout)["counts"] == {"incomplete": 2, "no scenes": 1}
    assert not Path(job.out).exists()

    done = CliRunner().invoke(main, ["backfill", *values, *span, "--json"])
    assert done.exit_code == 3, done.output
    said = json.loads(done.stdout)
    assert said["counts"] == {"complete": 2, "no scenes": 1}
    assert (said["status"], said["catalog"]) == ("incomplete", f"{job.out}/catalog.json")
    folder = Path(job.out, "luminance-median", "rgb-2023-07")
    assert said["periods"][1]["mosaic"] == str(folder / "rgb-2023-07.tif")
    assert json.loads((folder / "rgb-2023-07.stac-item.json").read_text())["id"] == "rgb-2023-07"

    Path(job.out, "catalog.json").unlink()
    done = CliRunner().invoke(main, ["backfill", *values, *span, "--allow-empty"])
    assert done.exit_code == 0, done.output
    assert Path(job.out, "catalog.json").exists(), "though nothing was computed"
    assert "3 periods, 2023-06--P1M to 2023-08--P1M" in done.stderr
    assert "2023-07--P1M            complete          4 of 4  was there already" in done.stdout


@pytest.mark.usefixtures("prefect_server")
def test_wrong_input_is_exit_code_2(job: Job, tmp_path: Path) -> None:
    values = ["--out", job.out, "--span", "2023", "--frequency", "quarterly"]
    done = CliRunner().invoke(main, ["backfill", "--scenes", str(tmp_path / "nowhere"), *values, "--json"])
    assert done.exit_code == 2, done.output
    said = json.loads(done.stdout)
    assert said["status"] == "failed"
    assert said["counts"] == {"failed": 1, "not begun": 3}
    values += ["--scenes", str(job.scenes), "--deployment", "median-composite/nowhere"]
    done = CliRunner().invoke(main, ["backfill", *values])
    assert done.exit_code == 2, done.output
    assert "no deployment 'median-composite/nowhere'" in done.stdout
    for wrong in (["--span", "2023-02-02/2023-02-20"], ["--span", "2023", "--frequency", "weekly"]):
        done = CliRunner().invoke(main, ["backfill", "--scenes", str(job.scenes), "--out", job.out, *wrong])
        assert done.exit_code == 2, done.output
        assert "Wanted:" in done.stderr
    assert not Path(job.out).exists()


def flow_of(jobs: list[Any], compute: Any, **arguments: Any) -> Any:
    """What ``compute_all`` gives within a flow, as ``backfill`` calls it."""
    from prefect import flow

    from flows.backfill import compute_all

    @flow
    def periods() -> Any:
        return compute_all(jobs, compute, go_on=True, allow_empty=False, **arguments)

    return periods()


@pytest.mark.usefixtures("prefect_server")
def test_as_many_periods_at_once_as_asked_for(job: Job) -> None:
    met, lock, active, most = Barrier(2, timeout=120), Lock(), [0], [0]
    told: list[tuple[str, int, int]] = []

    def compute(period: Period, _: Job) -> PeriodResult:
        with lock:
            active[0] += 1
            most[0] = max(most + active)
        met.wait()  # one alone would wait in vain
        time.sleep(0.2)  # a third has time to come
        with lock:
            active[0] -= 1
        return PeriodResult(period=period.label, state="complete", good_enough=True)

    with watched_by(lambda *step: told.append(step)):
        found = flow_of(jobs_of(job, "2023-01/2023-07", "monthly"), compute, at_once=2)
    assert [result.period for result in found] == [f"2023-{month:02}--P1M" for month in range(1, 7)]
    assert most == [2]
    steps = [step for step in told if step[0] == "periods"]
    assert (len(steps), max(steps)) == (6, ("periods", 6, 6))


@pytest.mark.usefixtures("prefect_server")
def test_nothing_begins_after_an_interruption(job: Job) -> None:
    begun: list[str] = []

    def compute(period: Period, _: Job) -> PeriodResult:
        begun.append(period.label)
        if len(begun) == 1:
            raise KeyboardInterrupt
        time.sleep(1)  # the one that had begun by then
        return PeriodResult(period=period.label, state="complete", good_enough=True)

    with pytest.raises(KeyboardInterrupt):
        flow_of(jobs_of(job, "2023-01/2023-08", "monthly"), compute, at_once=1)
    assert len(begun) <= 2


# -- by runs of a deployment ---------------------------------------------------------------------------------


@pytest.mark.e2e
def test_each_period_by_a_run_of_a_deployment(prefect: Prefect, scenes: Path, tmp_path: Path) -> None:
    job = {"scenes": str(scenes), "out": str(tmp_path / "out"), "tile_size": 32}
    run_id = prefect.submit(
        "backfill/on-demand",
        job=job,
        span="2023-01/2023-07",
        frequency="quarterly",
        at_once=2,
        deployment="median-composite/on-demand",
    )
    state = prefect.wait_for(run_id)
    assert state["type"] == "COMPLETED", state["message"]
    assert state["message"] == "2 of 2 periods are complete"
    children = prefect.post("flow_runs/filter", {"flows": {"name": {"any_": ["median-composite"]}}})
    names = [run["name"] for run in children if run["parent_task_run_id"]]
    for period in QUARTERS[:2]:
        assert any(name.startswith(f"luminance-median {period}") for name in names), names
    assert not any({"workers", "memory_limit"} & set(run["parameters"]["job"]) for run in children), "its own machine's"
    assert len(list((tmp_path / "out").glob("luminance-median/*/*.stac-item.json"))) == 2


# -- without Prefect -----------------------------------------------------------------------------------------


def test_the_form_has_every_frequency() -> None:
    from flows.backfill import Frequency

    assert get_args(Frequency) == FREQUENCIES


def test_jobs_of_a_span(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    found = jobs_of(job, "2021/2024", "annual")
    assert [j.period for _, j in found] == ["2021--P1Y", "2022--P1Y", "2023--P1Y"]
    assert [period for period, _ in jobs_of(job.model_copy(update={"period": "2023"}), None, "quarterly")] == [
        parse_period(label) for label in QUARTERS
    ]
    whole = jobs_of(job, "2021-05-03/2024-02-01", "all")
    assert [parse_period(j.period or "") for _, j in whole] == [parse_period("2021-05-03/2024-02-01")]
    (hours, asked), *_ = jobs_of(job, "2021-05-03T06:00/2021-05-03T18:00", "all")
    assert parse_period(asked.period or "") == hours, "whose label cannot be read as a period"
    monkeypatch.setenv("CLEARYEAR_WORKERS", "8")
    monkeypatch.setattr("clearyear.limits.memory_limit", lambda asked: None)
    assert {(j.workers, j.memory_limit) for _, j in jobs_of(job, "2023", "monthly", at_once=3)} == {(2, None)}
    monkeypatch.undo()
    limited = job.model_copy(update={"workers": 2, "memory_limit": 900_000_000})
    assert {(j.workers, j.memory_limit) for _, j in jobs_of(limited, "2023", "monthly", at_once=3)} == {
        (1, 300_000_000)
    }


def test_every_frequency_gives_jobs_that_mean_its_periods(job: Job) -> None:
    for frequency in FREQUENCIES:
        for period, one in jobs_of(job, "2019/2026", frequency):
            assert parse_period(one.period or "") == period


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"naming": "monthly"}, "calls 12 periods 'monthly'"),
        ({"naming": "{start:%Y}-{product}"}, "calls 12 periods '2023-luminance-median'"),
    ],
)
def test_two_periods_of_one_name_are_refused(job: Job, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        jobs_of(job.model_copy(update=changes), "2023", "monthly")


def test_a_plug_in_may_be_named_after(job: Job) -> None:
    asked = job.model_copy(update={"reducer": "mine.module:Darkest", "naming": "{product}_{start:%Y-%m}"})
    assert len(jobs_of(asked, "2023", "monthly")) == 12


def test_a_span_is_needed(job: Job) -> None:
    with pytest.raises(InputError, match="No span is given"):
        jobs_of(job, None, "monthly")


def test_what_a_period_is_before_anything_is_done(job: Job) -> None:
    found = {p.label: period_standing(p, j) for p, j in jobs_of(job, "2023", "quarterly")}
    assert [r.state for r in found.values()] == ["incomplete", "incomplete", "incomplete", "no scenes"]
    assert found[QUARTERS[0]].cause == "x00000_y00000: not computed yet"
    assert not any(r.good_enough for r in found.values())
    assert "--allow-empty" in found[QUARTERS[3]].command
    assert (EMPTY.command, ALLOWED.command) == (ALLOW_EMPTY, "")
    assert not Path(job.out).exists(), "looking writes nothing"


PERIOD = parse_period("2023")
WELL = PeriodResult(period="2022--P1Y", state="complete", good_enough=True)
EMPTY, ALLOWED = (failure_of(PERIOD, NoScenesError("None"), allow_empty=allowed) for allowed in (False, True))
WRONG, LOST = failure_of(PERIOD, InputError("No")), failure_of(PERIOD, StoreError("Gone"))
PARTLY = PeriodResult(period="2023--P1Y", state="incomplete")
LATER = PeriodResult(period="2024--P1Y", state="not begun")


@pytest.mark.parametrize(
    ("results", "status", "code"),
    [
        ([WELL, WELL], "complete", 0),
        ([WELL, ALLOWED], "complete", 0),
        ([WELL, EMPTY], "incomplete", 3),
        ([WELL, PARTLY], "incomplete", 3),
        ([PARTLY.model_copy(update={"good_enough": True})], "incomplete", 0),
        ([WELL, WRONG], "incomplete", 3),
        ([PARTLY, LATER], "incomplete", 3),
        ([WRONG, LATER], "failed", 2),
        ([LOST, LATER], "failed", 1),
        ([EMPTY, EMPTY], "failed", 2),
        ([ALLOWED, ALLOWED], "incomplete", 0),
        ([ALLOWED, WRONG], "failed", 2),
    ],
)
def test_status_and_exit_code(job: Job, results: list[PeriodResult], status: str, code: int) -> None:
    found = conclude_backfill(job, "2022/2025", "annual", results, None)
    assert (found.status, found.exit_code) == (status, code)
    assert bool(found.contract()["error"]) is (code != 0)
    assert conclude_backfill(job, "2022", "annual", results, "/out/catalog.json").catalog == "/out/catalog.json"


def test_what_a_period_is_between(job: Job) -> None:
    """All windows without a mosaic; a published mosaic with a gap, which is good enough for who allows it."""
    (period, asked), *_ = jobs_of(job, "2023", "quarterly")
    plan = prepare(asked)
    store = open_store(plan.destination)
    for window in plan.windows:
        compute_window(plan, window, store)
    found = period_standing(period, asked)
    assert (found.state, found.done, found.expected) == ("incomplete", 4, 4)
    assert (found.cause, found.mosaic, found.good_enough) == ("no mosaic is published", None, False)

    store.remove(plan.record_name(plan.windows[1]))
    allows = asked.model_copy(update={"allow_missing": True})
    asks_less = asked.model_copy(update={"min_completeness": 0.75})
    join_windows(find_plan(plan.destination, allow_missing=True))
    for one, enough in ((asked, False), (allows, True), (asks_less, True)):
        found = period_standing(period, one)
        assert (found.state, found.done, found.expected) == ("incomplete", 3, 4)
        assert (found.good_enough, found.command) == (enough, f"clearyear repair {plan.destination}")
        assert found.cause.startswith(f"{plan.windows[1].id}: ")
        assert found.mosaic == store.uri(plan.mosaic_name())


@pytest.mark.parametrize("allowed", [False, True])
def test_what_a_runs_outcome_says_of_its_period(allowed: bool) -> None:
    outcome = {"status": "incomplete", "report": "/out/p 1/report.json", "causes": {}, "ok": 2, "empty": ["a"],
               "expected": 4, "problem": "too little", "mosaic": None, "allowed": allowed,
               "mend": ["replace s", "or allow it", "or repair"]}  # fmt: skip
    found = result_of(PERIOD, outcome)
    assert (found.state, found.done, found.expected) == ("incomplete", 3, 4)
    assert (found.cause, found.command) == ("too little", "replace s; or allow it")
    assert found.good_enough is allowed
    assert result_of(PERIOD, {**outcome, "causes": {"x": "gone", "y": "late"}}).cause == "x: gone"
    whole = result_of(PERIOD, {**outcome, "status": "complete", "allowed": True, "mend": []})
    assert (whole.state, whole.cause, whole.command, whole.good_enough) == ("complete", "", "", True)


def test_a_search_that_has_nothing_in_this_period_only(data: Path) -> None:
    """A backfill goes on where other periods have items, and not where the search itself is wrong."""
    place = str(data / "stac" / "earthsearch-33TWL" / "catalog.json")
    assert search_items(StacQuery(url=place), parse_period("2023-08"))
    with pytest.raises(NoScenesError, match="was taken in 2023-03--P1M"):
        search_items(StacQuery(url=place), parse_period("2023-03"))
    for wrong in ({"bbox": (100.0, 10.0, 101.0, 11.0)}, {"query": ["eo:cloud_cover<0"]}):
        query = StacQuery.model_validate({"url": place, **wrong})
        area = None if query.area is None else read_area(query.area)
        with pytest.raises(InputError) as refused:
            search_items(query, parse_period("2023-03"), area)
        assert not isinstance(refused.value, NoScenesError)
