"""Jobs, manifests, plans and records that were made to do harm: nothing leaves the destination, nothing is let in."""

import csv
import io
import json
import logging
import traceback
from pathlib import Path
from typing import Any

import pytest
from conftest import write_scene
from hypothesis import given
from hypothesis import strategies as st
from loopback.gcs import GcsServer
from runs import finished, plan_of, statuses_of

from clearyear.completeness import Status, check_plan
from clearyear.errors import ClearyearError, InputError, StoreError
from clearyear.job import Job, make_job
from clearyear.plan import Plan
from clearyear.prepare import find_plan, make_plan, prepare
from clearyear.publish import survey
from clearyear.published import published
from clearyear.redact import redact
from clearyear.report import make_report
from clearyear.report_text import missing_csv
from clearyear.scenes import find_scenes
from clearyear.scenes.manifest import read_payload
from clearyear.stores import Store, open_store
from clearyear.window import compute_window
from tasks.logs import OperatorLog

CLIMBING = ["../out.tif", "tiles/../../out.tif", "/etc/passwd", "~/x", "a\\..\\b", "a\0b", "a\nb", ".."]
SECRET = "hunter2hunter2"


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLIMBING)
@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_no_name_leads_out_of_a_store(tmp_path: Path, bucket: GcsServer, where: str, name: str) -> None:
    (tmp_path / "in" / "tiles").mkdir(parents=True)
    (tmp_path / "out.tif").write_bytes(b"mine")
    store: Store = open_store(str(tmp_path / "in") if where == "folder" else "gs://in/deep")
    source = tmp_path / "source"
    source.write_bytes(b"new")
    for act in (
        lambda: store.write(name, b"new"),
        lambda: store.write_file(name, source),
        lambda: store.read(name),
        lambda: store.stat(name),
        lambda: store.remove(name),
    ):
        with pytest.raises(InputError, match="leads out of its folder"):
            act()
    assert (tmp_path / "out.tif").read_bytes() == b"mine"
    assert bucket.keys("in") == []


@pytest.mark.parametrize("name", ["../x", "a/b", "a b", "", "-x", ".x", "x" * 65, "x\n", "ä"])
def test_no_product_name_that_is_none(scenes: Path, name: str) -> None:
    with pytest.raises(InputError, match="product"):
        make_job({"scenes": str(scenes), "out": "out", "product": name})


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("product", "name"), "../../elsewhere"),
        (("product", "layers"), ["composite", "/../../elsewhere"]),
        (("product", "compress"), "best"),
        (("product", "compress_layers"), {"composite": "zstd:-1"}),
        (("product", "display"), {"max": "white"}),
        (("period", "label"), "../../../elsewhere"),
        (("tile_size",), 0),
        (("tile_size",), -16),
    ],
)
def test_a_plan_that_was_tampered_with(scenes: Path, tmp_path: Path, at: tuple[str, ...], value: Any) -> None:
    """Who can write to a destination must not choose where a repair writes."""
    plan = finished(scenes, tmp_path / "out")
    path = Path(plan.destination) / "plan.json"
    document = json.loads(path.read_text())
    del document["id"]
    inner = document
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="is no plan this version can use"):
        find_plan(plan.destination)


def test_a_record_that_names_another_file(scenes: Path, tmp_path: Path) -> None:
    """Its size and checksum agree, and yet it is not this window's tile."""
    plan = finished(scenes, tmp_path / "out")
    store = open_store(plan.destination)
    first, second, *_ = plan.windows
    record = json.loads(store.read(plan.record_name(first)))
    record["layers"]["composite"] = json.loads(store.read(plan.record_name(second)))["layers"]["composite"]
    store.write(plan.record_name(first), json.dumps(record).encode())
    status = check_plan(plan, store)[0]
    assert status.status is Status.INVALID
    assert f"its record names '{plan.tile_name(second)}' as its composite" in status.cause
    record["layers"]["composite"]["name"] = "../../../../etc/hostname"
    store.write(plan.record_name(first), json.dumps(record).encode())
    assert check_plan(plan, store)[0].status is Status.INVALID
    assert survey(plan).status == "incomplete"


def test_an_item_that_names_another_file(scenes: Path, tmp_path: Path) -> None:
    plan = finished(scenes, tmp_path / "out")
    store = open_store(plan.destination)
    statuses = check_plan(plan, store)
    item = json.loads(store.read(plan.item_name))
    item["assets"]["composite"]["href"] = "./../../../../etc/hostname"
    store.write(plan.item_name, json.dumps(item).encode())
    assert published(plan, store, statuses)[0] is None
    assert "etc/hostname' as its composite, which is none of this plan's" in published(plan, store, statuses)[1]


# -- what a list may name ------------------------------------------------------------------------------------

LOCAL = [
    "/etc/a_20230101.tif",
    "file:///etc/a_20230101.tif",
    "~/a_20230101.tif",
    "../../in2/a_20230101.tif",
    "x/../../b",
]


@pytest.mark.parametrize("address", LOCAL)
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_manifest_in_a_bucket_names_no_file_of_this_machine(bucket: GcsServer, kind: str, address: str) -> None:
    bucket.put("in", "list.csv", f"uri\n{address}\n".encode())
    bucket.put("in", "list.json", json.dumps([{"uri": address}]).encode())
    with pytest.raises(InputError, match="a file of this machine or out of its folder"):
        find_scenes(f"gs://in/list.{kind}")


@pytest.mark.parametrize("address", LOCAL)
def test_a_payload_in_a_bucket_reads_and_writes_no_file_of_this_machine(bucket: GcsServer, address: str) -> None:
    good = "gs://in/a_20230101.tif"
    for datasets, destination in (([address], "gs://in/out.tif"), ([good], address), ([good], "out.tif")):
        document = {"datasets": datasets, "window": [0, 0, 1, 1], "destination": destination}
        bucket.put("in", "payload.json", json.dumps(document).encode())
        with pytest.raises(InputError, match="a file of this machine or out of its folder"):
            read_payload("gs://in/payload.json")


def test_a_manifest_of_this_machine_may(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    manifest = tmp_path / "lists" / "list.csv"
    manifest.write_text("uri\n" + "\n".join(f"../scenes/{p.name}" for p in sorted(scenes.glob("*.tif"))))
    assert len(find_scenes(str(manifest))) == 7


@pytest.mark.parametrize(
    "address",
    [
        *("s3x://b/a", "ftp://h/a", "vsicurl://h/a", "data://x", "http:/x//y://z", "gs://", "javascript://%0aalert(1)"),
        *("GTIFF_DIR:1:/etc/a.tif", "/vsicurl/http://h/a_20230101.tif", "/vsizip/a.zip/a_20230101.tif", "vrt:///a"),
    ],
)
def test_only_schemes_that_are_listed(scenes: Path, tmp_path: Path, address: str) -> None:
    """GDAL's own ways of naming what lies elsewhere are plain local paths here, and nothing lies there."""
    with pytest.raises(InputError):
        make_plan(Job(scenes=[address], period="all", out=str(tmp_path)))


# -- spreadsheets --------------------------------------------------------------------------------------------


def cells(text: str, separator: str) -> list[str]:
    return [cell for row in csv.reader(io.StringIO(text), delimiter=separator) for cell in row]


FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


@given(cause=st.text(st.sampled_from('=+-@\t\r\n;," aZ1'), max_size=12))
def test_no_cell_is_a_formula(cause: str) -> None:
    """However it was meant: read with commas, or with semicolons where a comma is the decimal sign."""
    plan = plan_of(destination=f"/data/{cause}")
    statuses = statuses_of(plan, {0: Status.MISSING}, cause=cause)
    report = make_report(plan, open_store(plan.destination), statuses, None)
    for separator in (",", ";"):
        for cell in cells(missing_csv(report), separator):
            number = cell.strip().lstrip("-").replace(".", "").isdigit()
            assert number or not cell.lstrip(" ").startswith(FORMULA), (separator, cell)


# -- secrets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{SECRET}@host/a.tif: 403",
        f"https://{SECRET}@host/a.tif",
        f"'https://host/a.tif?X-Goog-Signature={SECRET}&X-Goog-Expires=3' cannot be used",
        f"/vsicurl/https://host/a.tif?sig={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"PREFECT_API_AUTH_STRING=admin:{SECRET}",
        f"{{'access_token': '{SECRET}', 'n': 1}}",
        f'{{"private_key_secret": "{SECRET}"}}',
        f"password: {SECRET}",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"https://h/upload?uploadType=resumable&upload_id={SECRET}",
    ],
)
def test_secrets_are_taken_out(text: str) -> None:
    assert SECRET not in redact(text)
    error = ClearyearError(text, text, text, uri=text)
    assert SECRET not in str(error)
    assert SECRET not in repr(error.__dict__)
    record = logging.LogRecord("prefect.flow_runs", logging.ERROR, __file__, 1, "Encountered %s", (text,), None)
    assert OperatorLog().filter(record)
    assert SECRET not in record.getMessage()


def test_what_is_no_secret_stays() -> None:
    for text in (
        "4 of 7 scenes could not be read: a_20230101 (block 0,1 is cut off: 3 of 9 bytes); more (max_failed_reads)",
        "gs://bucket/t31tcj/2023/T31TCJ_20230115T104441_TCI.tif",
        "choose another --out or --product, or pass --overwrite",
        "https://host/a b/c.tif is not there. Is it?",
    ):
        assert redact(text) == text


def test_a_traceback_of_any_error_is_logged_without_secrets() -> None:
    try:
        raise ValueError(f"https://host/x?token={SECRET}")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("prefect.task_runs", logging.ERROR, __file__, 1, "it broke", None, info)
    assert OperatorLog().filter(record)
    text = logging.Formatter("%(message)s").format(record)
    assert "ValueError" in text
    assert SECRET not in text


def test_a_refused_job_does_not_show_what_it_held() -> None:
    """Prefect writes the message of a refused parameter into the run's state."""
    with pytest.raises(ValueError, match="scene_s") as caught:
        Job.model_validate({"out": "o", "scenes": "s", "scene_s": f"https://u:{SECRET}@h/", "tile_size": SECRET})
    assert SECRET not in str(caught.value)


def test_an_address_with_a_password_is_refused_without_it(scenes: Path, tmp_path: Path) -> None:
    for address in (f"https://user:{SECRET}@host/a_20230101.tif", f"ftp://u:{SECRET}@h/a_20230101.tif"):
        with pytest.raises(InputError) as caught:
            make_plan(Job(scenes=[address], period="all", out=str(tmp_path)))
        assert SECRET not in "".join(traceback.format_exception_only(caught.value))


def test_what_a_bucket_says_is_kept_without_secrets(bucket: GcsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service, or a proxy before it, may repeat in an error what it was sent."""
    monkeypatch.setattr("loopback.gcs.error_reply", _telling_tales)
    bucket.fail("GET", status=403, times=9)
    with pytest.raises((InputError, StoreError)) as caught:
        open_store("gs://in/x").read("a")
    assert "Not allowed" in str(caught.value)
    assert SECRET not in str(caught.value)


def _telling_tales(_request: Any, error: Any) -> Any:
    from loopback.gcs_api import json_reply

    told = f"Authorization: Bearer {SECRET} may not read https://storage/x?access_token={SECRET}"
    return json_reply({"error": {"code": error.status, "message": told}}, error.status)


def test_a_planted_secret_is_in_no_file_of_a_run(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything a run without Prefect writes and logs is searched; the environment and a broken scene hold it."""
    caplog.set_level(logging.DEBUG)
    for name in ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY", "GOOGLE_OAUTH_ACCESS_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    write_scene(scenes / "T31TCJ_20231215T104441_TCI.tif", _zeros())
    plan = prepare(Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=32, max_failed_reads=1))
    (scenes / "T31TCJ_20231215T104441_TCI.tif").write_bytes(b"gone")
    _told_by_gdal(monkeypatch)
    store = open_store(plan.destination)
    for window in plan.windows:
        compute_window(plan, window, store)
    report = survey(plan)
    assert [f.scene for f in report.failed_scenes] == ["T31TCJ_20231215T104441_TCI"]
    assert "?…" in report.failed_scenes[0].cause
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in caplog.text


def _zeros() -> Any:
    import numpy as np

    return np.ones((3, 40, 50), np.uint8)


def _told_by_gdal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that fails with an address in its words, as GDAL's and web servers' do."""
    from clearyear.errors import ReadError
    from clearyear.reading import stack

    def tell(uri: str, version: str) -> None:
        if "T31TCJ_202312" in uri:
            raise ReadError(f"HTTP error on https://host/x.tif?X-Amz-Signature={SECRET}", uri=uri)

    monkeypatch.setattr(stack, "check_version", tell)


def test_a_plan_is_a_plan(tmp_path: Path) -> None:
    """The checks above refuse no plan that we write ourselves."""
    plan = plan_of()
    assert Plan.from_json(plan.to_json()).id == plan.id
