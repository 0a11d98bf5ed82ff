"""The report: every window in exactly one list, and the same facts as JSON, Markdown and CSV."""

import csv
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import finished, plan_of, result_of, statuses_of

from clearyear.completeness import Status, WindowStatus, check_plan
from clearyear.errors import InputError
from clearyear.mosaic import Mosaic
from clearyear.prepare import find_plan
from clearyear.publish import may_publish, survey
from clearyear.published import published
from clearyear.reading.stack import FailedRead
from clearyear.report import Report, is_allowed, make_report
from clearyear.report_text import markdown, md_cell, missing_csv
from clearyear.stores import open_store
from clearyear.window import LayerFile

CONTRACT = {
    *("status", "mosaic", "expected", "ok", "missing", "invalid", "stale", "empty", "failed_reads", "report"),
    *("stac_item", "layers"),
}
PLAN = plan_of()
STORE = open_store(PLAN.destination)
FILES = Mosaic(layers={k: LayerFile(name=PLAN.mosaic_name(k), size=1, sha256="00" * 32) for k in PLAN.product.layers})
FOLDER = "/out/luminance-median/2023--P1Y"


def report_of(bad: dict[int, Status] | None = None, *, mosaic: Mosaic | None = FILES, **more: Any) -> Report:
    return make_report(PLAN, STORE, statuses_of(PLAN, bad, **more), mosaic)


THREE = {1: Status.MISSING, 5: Status.INVALID, 6: Status.MISSING, 7: Status.STALE, 11: Status.EMPTY}


# -- the value -----------------------------------------------------------------------------------------------


def test_complete() -> None:
    outcome = report_of({0: Status.EMPTY}).contract()
    assert outcome.keys() >= CONTRACT
    assert json.loads(json.dumps(outcome)) == {
        "status": "complete",
        "mosaic": f"{FOLDER}/luminance-median_2023--P1Y.tif",
        "expected": 12,
        "ok": 11,
        "missing": [],
        "invalid": [],
        "stale": [],
        "empty": ["x00000_y00000"],
        "failed_reads": 0,
        "report": f"{FOLDER}/report.json",
        "stac_item": f"{FOLDER}/luminance-median_2023--P1Y.stac-item.json",
        "layers": {
            "count": f"{FOLDER}/luminance-median_2023--P1Y_count.tif",
            "source": f"{FOLDER}/luminance-median_2023--P1Y_source.tif",
        },
        "causes": {},
        "problem": "",
        "unread": [],
        "failed_scenes": [],
        "mend": [],
    }


def test_incomplete() -> None:
    report = report_of(THREE, mosaic=None)
    outcome = report.contract()
    assert (outcome["status"], outcome["expected"], outcome["ok"]) == ("incomplete", 12, 7)
    assert outcome["missing"] == ["x00016_y00000", "x00032_y00016"]
    assert outcome["invalid"] == ["x00016_y00016"]
    assert outcome["stale"] == ["x00048_y00016"]
    assert outcome["empty"] == ["x00048_y00032"]
    assert (outcome["mosaic"], outcome["stac_item"], outcome["layers"]) == (None, None, {})
    assert outcome["causes"] == dict.fromkeys(
        ["x00016_y00000", "x00016_y00016", "x00032_y00016", "x00048_y00016"], "it is gone"
    )
    assert report.not_done[0].bounds == (300160, 4899860, 300320, 4900020)


@given(st.lists(st.sampled_from(Status), min_size=12, max_size=12), st.booleans())
def test_the_lists_are_a_partition_of_the_plan(statuses: list[Status], with_mosaic: bool) -> None:
    report = report_of(dict(enumerate(statuses)), mosaic=FILES if with_mosaic else None)
    lists = [report.missing, report.invalid, report.stale, report.empty]
    named = [window for ids in lists for window in ids]
    assert report.ok + len(named) == report.expected == 12
    assert len(set(named)) == len(named)
    assert set(named) <= {w.id for w in PLAN.windows}
    assert report.done == sum(s in (Status.OK, Status.EMPTY) for s in statuses)
    assert (report.status == "complete") == (report.done == 12 and with_mosaic)
    assert [w.id for w in report.not_done] == list(report.causes)
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert len(list(csv.reader(io.StringIO(missing_csv(report))))) == 1 + len(report.not_done)


@pytest.mark.parametrize(
    ("least", "done", "allowed"),
    [(1.0, 12, True), (1.0, 11, False), (0.9, 11, True), (0.9, 10, False), (0.0, 1, True), (0.0, 0, False)],
)
def test_how_much_is_enough(least: float, done: int, allowed: bool) -> None:
    plan = plan_of(min_completeness=least)
    statuses = statuses_of(plan, dict.fromkeys(range(done, 12), Status.MISSING))
    assert is_allowed(plan, statuses) is allowed
    assert make_report(plan, STORE, statuses, None).outcome()["allowed"] is allowed
    assert make_report(plan, STORE, statuses, None).outcome(allow_missing=True)["allowed"] is True


def test_a_share_that_is_no_binary_fraction_is_met_exactly() -> None:
    for width, least, done in ((1600, 0.55, 55), (400, 0.28, 7)):
        plan = plan_of(width, 16, min_completeness=least)
        for enough in (True, False):
            lost = dict.fromkeys(range(done if enough else done - 1, len(plan.windows)), Status.MISSING)
            assert is_allowed(plan, statuses_of(plan, lost)) is enough


@pytest.mark.parametrize(
    ("least", "done", "words"),
    [
        (0.996, 11, "11 of 12 windows are done, 99.6% are asked for; no mosaic is published (allow_missing would)"),
        (1.0, 0, "0 of 12 windows are done, 100% are asked for; no mosaic is published"),
        (0.0, 0, "none of 12 windows is done; no mosaic is published"),
    ],
)
def test_why_there_is_no_mosaic(least: float, done: int, words: str) -> None:
    plan = plan_of(min_completeness=least)
    lost = dict.fromkeys(range(done, 12), Status.MISSING)
    assert may_publish(plan, statuses_of(plan, lost)) == (False, words)


def test_failed_reads_are_counted_and_named_once_a_scene() -> None:
    reads = (FailedRead(scene="b", uri="/b.tif", cause="first"), FailedRead(scene="a", uri="/a.tif", cause="torn"))
    statuses = statuses_of(PLAN)
    for number, failed in ((2, reads[:1]), (4, reads)):
        result = result_of(PLAN, number, seen=0.5, failed=failed)
        statuses[number] = WindowStatus(id=result.id, status=Status.OK, result=result)
    report = make_report(PLAN, STORE, statuses, FILES)
    assert report.failed_reads == 3
    assert [(s.scene, s.uri, s.windows, s.cause) for s in report.failed_scenes] == [
        ("a", "/a.tif", 1, "torn"),
        ("b", "/b.tif", 2, "first"),
    ]


def test_valid_share_weighs_pixels_not_windows() -> None:
    """The last window of a row is 2 px wide, not 16."""
    bad = {number: Status.MISSING for number in range(12) if number not in (0, 3)}
    statuses = statuses_of(PLAN, bad)
    result = result_of(PLAN, 3, seen=0.0)
    statuses[3] = WindowStatus(id=result.id, status=Status.EMPTY, result=result)
    assert make_report(PLAN, STORE, statuses, None).valid_share == round(0.75 * 16 / 18, 6)


# -- in a sentence -------------------------------------------------------------------------------------------


def test_sentences() -> None:
    assert report_of().sentence() == (
        f"12 of 12 windows are there; the mosaic is {FOLDER}/luminance-median_2023--P1Y.tif"
    )
    assert report_of(THREE).sentence() == (
        "4 of 12 windows are not done: 2 missing; 1 invalid; 1 stale (x00016_y00000: it is gone)"
    )
    assert report_of({3: Status.STALE}, cause="other scenes").sentence() == (
        "1 of 12 windows are not done: 1 stale (x00048_y00000: other scenes)"
    )
    lost = make_report(PLAN, STORE, statuses_of(PLAN), None, problem="the published a.tif is gone")
    assert lost.sentence() == "12 of 12 windows are there, but the published a.tif is gone"
    assert report_of(mosaic=None).sentence() == "12 of 12 windows are there, but no mosaic is published"


def test_the_repair_command_can_be_pasted() -> None:
    plan = plan_of(destination="/data/my composites/a & b")
    report = make_report(plan, open_store(plan.destination), statuses_of(plan), None)
    assert shlex.split(report.repair_command) == ["clearyear", "repair", "/data/my composites/a & b"]
    assert report_of().repair_command == f"clearyear repair {FOLDER}"


def unread(number: int, *reads: FailedRead) -> WindowStatus:
    """A window without these scenes, as its record has it."""
    result = result_of(PLAN, number, seen=0.0, failed=reads).model_copy(update={"status": "failed", "layers": {}})
    return WindowStatus(id=result.id, status=Status.MISSING, cause="1 of 2 scenes could not be read", result=result)


TORN = FailedRead(scene="s20230115", uri="/data/s 20230115.tif", cause="torn")
LATE = FailedRead(scene="s20230815", uri="/data/s 20230815.tif", cause="503", transient=True)
REPAIR = f"clearyear repair {FOLDER}"


def mended(bad: dict[int, Status], *without: WindowStatus, **changes: Any) -> Report:
    statuses = {s.id: s for s in [*statuses_of(PLAN, bad), *without]}
    return make_report(PLAN.model_copy(update=changes), STORE, list(statuses.values()), None)


def test_what_mends_it_depends_on_the_cause() -> None:
    assert report_of().mend == []
    assert mended({1: Status.MISSING, 2: Status.INVALID}).mend == [REPAIR]
    assert mended({}, unread(3, LATE)).mend == [REPAIR], "it may pass"
    replace, allow, again = (
        "replace s20230115, and run the same job again with --overwrite (overwrite: true)",
        "or allow it: the same job again with --max-failed-reads 1 (max_failed_reads: 1)",
        f"or, where its file is as before and only could not be reached: `{REPAIR}`",
    )
    assert mended({}, unread(3, TORN), unread(4, TORN)).mend == [replace, allow, again]
    mixed = mended({1: Status.MISSING}, unread(3, TORN))
    assert mixed.mend == [replace, allow, again, f"for the other 1 window `{REPAIR}` does"]
    assert (mixed.unread, mixed.missing) == ([PLAN.windows[3].id], [PLAN.windows[1].id, PLAN.windows[3].id])
    assert [mixed.remedy(window) for window in mixed.not_done] == [REPAIR, f"{replace}; {allow}"]


def test_no_remedy_allows_every_scene_to_fail() -> None:
    both = TORN, LATE.model_copy(update={"transient": False})
    assert [way[:12] for way in mended({}, unread(0, *both)).mend] == ["replace s202", "or, where th"]


def test_what_another_plan_could_not_read_mends_nothing() -> None:
    later = tuple(scene.model_copy(update={"version": "2"}) for scene in PLAN.scenes)
    assert mended({}, unread(3, TORN), scenes=later).mend == [REPAIR]


# -- Markdown ------------------------------------------------------------------------------------------------


def rows_of(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its two first lines."""
    part = text.partition(heading)[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in lines[2:]]


def test_markdown_of_a_complete_run() -> None:
    text = markdown(report_of({0: Status.EMPTY}))
    assert text.startswith(
        "# luminance-median, 2023--P1Y: complete\n\n12 of 12 windows are there; the mosaic is "
        f"{FOLDER}/luminance-median_2023--P1Y.tif.\n"
    )
    figures = {row[0]: row[1] for row in rows_of(text, "# ")}
    assert figures["windows expected"] == "12"
    assert figures["windows done"] == "12 (100.0%)"
    assert figures["of these empty (no valid sample)"] == "1"
    assert figures["scenes"] == "2"
    assert figures["reads that failed"] == "0"
    # Twelve windows of half a second, two at once in the smallest job that has two vCPU, at list price.
    cost = report_of().figures.cost
    assert cost is not None
    assert (cost.vcpu_seconds, cost.gib_seconds) == (6.0, 6.0)
    assert cost.assumptions[0].startswith("Cloud Run jobs of 2 vCPU and 2 GiB, windows at once: 2, at 0.000018 USD")
    said = "about 0.0001 USD; cost in report.json says what is assumed"
    assert figures["window seconds at Cloud Run's prices"] == said
    assert text.count("Cloud Run") == 1, "a line is enough for who has none"
    assert figures["bytes read, about"] == "1.2 kB"
    assert figures["mosaic"] == f"`{FOLDER}/luminance-median_2023--P1Y.tif`"
    assert "repair" not in text
    assert "## " not in text
    assert text.endswith("![tile map](tile_map.png)\n\n![the composite](luminance-median_2023--P1Y_preview.jpg)\n")


def test_markdown_of_an_incomplete_run_says_what_is_wrong_and_what_to_do() -> None:
    statuses = statuses_of(PLAN, THREE)
    reads = (FailedRead(scene="s20230115", uri="/data/s.tif", cause="torn"),)
    statuses[2] = statuses[2].model_copy(update={"result": result_of(PLAN, 2, seen=0.5, failed=reads)})
    problem = "8 of 12 windows are done, 100% are asked for; no mosaic is published (allow_missing would)"
    text = markdown(make_report(PLAN, STORE, statuses, None, problem=problem))
    assert text.startswith("# luminance-median, 2023--P1Y: incomplete\n\n4 of 12 windows are not done: 2 missing;")
    assert "\n8 of 12 windows are done, 100% are asked for; no mosaic is published (allow_missing would).\n" in text
    assert f"\nTo compute what is not there: `clearyear repair {FOLDER}`\n" in text
    assert "| windows done | 8 (66.7%) |" in text
    assert rows_of(text, "## Windows that are not done: 4\n") == [
        ["x00016_y00000", "missing", "it is gone"],
        ["x00016_y00016", "invalid", "it is gone"],
        ["x00032_y00016", "missing", "it is gone"],
        ["x00048_y00016", "stale", "it is gone"],
    ]
    assert rows_of(text, "## Scenes that failed to read: 1\n") == [["s20230115", "1", "torn"]]
    assert text.endswith("![tile map](tile_map.png)\n")


def test_markdown_names_a_scene_once_and_what_to_do_about_it() -> None:
    text = markdown(mended({}, unread(3, TORN), unread(4, TORN)))
    assert text.count("torn") == 1
    assert "\n- replace s20230115, and run the same job again with --overwrite (overwrite: true)\n" in text
    assert "\n- or allow it: the same job again with --max-failed-reads 1 (max_failed_reads: 1)\n" in text
    rows = rows_of(text, "## Windows that are not done: 2\n")
    assert rows == [[PLAN.windows[n].id, "missing", "1 of 2 scenes could not be read"] for n in (3, 4)]


def test_markdown_of_an_incomplete_mosaic_says_that_it_is_published() -> None:
    assert f"\nA mosaic is published: `{FOLDER}/luminance-median_2023--P1Y.tif`.\n" in markdown(report_of(THREE))


def test_a_cause_cannot_break_the_markdown() -> None:
    text = markdown(report_of({1: Status.MISSING, 2: Status.MISSING}, cause="a|b\nc <img src=x> & | d"))
    rows = rows_of(text, "## Windows that are not done: 2\n")
    assert rows == [[w, "missing", "a\\|b c &lt;img src=x> &amp; \\| d"] for w in ("x00016_y00000", "x00032_y00000")]
    assert "<img" not in text


def test_a_name_becomes_no_picture_and_no_link() -> None:
    assert md_cell("![x](https://example.com/p.png) [y](z)") == "!&#91;x](https://example.com/p.png) &#91;y](z)"


def test_a_long_table_ends_with_how_many_more_there_are() -> None:
    plan = plan_of(500, 500, 10)
    report = make_report(plan, STORE, statuses_of(plan, dict.fromkeys(range(2345), Status.MISSING)), None)
    text = markdown(report)
    assert len(rows_of(text, "## Windows that are not done: 2345\n")) == 100
    assert "\n… and 2,245 more in missing.csv.\n" in text
    assert len(missing_csv(report).splitlines()) == 2346


# -- CSV -----------------------------------------------------------------------------------------------------


def test_csv_holds_all_and_can_be_read_back() -> None:
    rows = list(csv.DictReader(io.StringIO(missing_csv(report_of(THREE)))))
    assert [(r["id"], r["status"]) for r in rows] == [
        ("x00016_y00000", "missing"),
        ("x00016_y00016", "invalid"),
        ("x00032_y00016", "missing"),
        ("x00048_y00016", "stale"),
    ]
    assert [float(rows[0][side]) for side in ("left", "bottom", "right", "top")] == [300160, 4899860, 300320, 4900020]
    assert {r["repair"] for r in rows} == {f"clearyear repair {FOLDER}"}
    assert missing_csv(report_of()) == "id,status,cause,left,bottom,right,top,repair\n"


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_csv_is_safe_to_open_in_a_spreadsheet(first: str) -> None:
    cause = f'{first}HYPERLINK("http://example.com","click"), a\nb'
    (row,) = csv.DictReader(io.StringIO(missing_csv(report_of({1: Status.MISSING}, cause=cause)), newline=""))
    quoted = "'" if first.strip() else ""  # and no cell has lines or tabs
    assert row["cause"] == quoted + cause.replace("\n", " ").replace(first, first if first.strip() else " ")


# -- of a real run -------------------------------------------------------------------------------------------


def test_survey_writes_what_it_finds_and_nothing_else(scenes: Path, tmp_path: Path) -> None:
    plan = finished(scenes, tmp_path / "out", layers=["count"])
    folder = Path(plan.destination)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    tiles = [folder / plan.tile_name(w) for w in plan.windows]
    tiles[1].unlink()
    tiles[3].write_bytes(tiles[3].read_bytes()[:-7])
    data = bytearray(tiles[8].read_bytes())
    data[len(data) // 2] ^= 1
    tiles[8].write_bytes(data)
    report = survey(find_plan(str(tmp_path / "out")))
    assert (report.status, report.ok, report.expected) == ("incomplete", 9, 12)
    assert report.missing == [plan.windows[1].id]
    assert report.invalid == [plan.windows[3].id, plan.windows[8].id]
    assert report.causes[plan.windows[1].id].endswith("_x00016_y00000.tif is gone")
    size = len(before[tiles[3]])
    assert report.causes[plan.windows[3].id].endswith(f"_x00048_y00000.tif is truncated: {size - 7} of {size} bytes")
    assert "_x00000_y00032.tif is damaged: its SHA-256 is " in report.causes[plan.windows[8].id]
    assert report.mosaic == str(folder / "luminance-median_2023--P1Y.tif"), "the mosaic itself is as it was"
    assert json.loads((folder / "report.json").read_text()) == json.loads(report.model_dump_json())
    assert (folder / "report.md").read_text() == markdown(report)
    assert (folder / "missing.csv").read_text() == missing_csv(report)
    written = {"report.json", "report.md", "missing.csv", "tile_map.png"}
    touched = {tiles[1], tiles[3], tiles[8]}
    now = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert {p for p in before if p not in now or now[p] != before[p]} - touched == {folder / n for n in written}
    assert set(now) <= set(before)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("luminance-median_2023--P1Y.tif", "the published luminance-median_2023--P1Y.tif is gone"),
        ("luminance-median_2023--P1Y.stac-item.json", "no mosaic is published"),
    ],
)
def test_a_lost_mosaic_is_not_complete(scenes: Path, tmp_path: Path, name: str, problem: str) -> None:
    plan = finished(scenes, tmp_path / "out")
    (Path(plan.destination) / name).unlink()
    report = survey(plan)
    assert (report.status, report.done, report.mosaic, report.stac_item) == ("incomplete", 12, None, None)
    assert report.problem == problem
    store = open_store(plan.destination)
    assert published(plan, store, check_plan(plan, store)) == (None, problem)
    assert f"\n{problem[0].upper()}{problem[1:]}.\n" in markdown(report)


def test_the_plan_is_found_below_the_folder_or_in_it(scenes: Path, tmp_path: Path) -> None:
    plan = finished(scenes, tmp_path / "out")
    folder = tmp_path / "out" / "luminance-median"
    for place in (tmp_path / "out", folder, folder / "2023--P1Y"):
        assert find_plan(str(place)).digest == plan.digest
    with pytest.raises(InputError, match="holds no run"):
        find_plan(str(folder / "2023--P1Y" / "tiles"))
