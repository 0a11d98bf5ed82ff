"""Scenes from lists: CSV, JSON, the course's payload; every refusal names the row and what is wrong with it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clearyear.errors import InputError
from clearyear.scenes import find_scenes
from clearyear.scenes.manifest import Payload, Row, is_manifest, read_manifest, read_payload

DAY = datetime(2023, 1, 2, tzinfo=UTC)


def write(folder: Path, name: str, content: str | list[Any] | dict[str, Any]) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("uri", "yes"),
    [("a.csv", True), ("gs://b/x.JSON", True), ("a/b.CSV", True), ("a", False), ("a.csv/", False), ("a.tif", False)],
)
def test_what_a_manifest_is_called(uri: str, yes: bool) -> None:
    assert is_manifest(uri) is yes


@pytest.mark.parametrize("key", ["uri", "href", "path", "dataset"])
def test_csv(tmp_path: Path, key: str) -> None:
    uri = write(
        tmp_path, "s.csv", f"{key}, id, datetime, cloud_cover\n/d/a.tif, one, 2023-01-02, 12.5\ngs://b/x/b.tif,,,\n"
    )
    assert read_manifest(uri) == [
        Row(uri="/d/a.tif", id="one", datetime=DAY, cloud_cover=12.5),
        Row(uri="gs://b/x/b.tif"),
    ]


def test_csv_as_spreadsheets_save_it(tmp_path: Path) -> None:
    """A byte-order mark, CR LF, quotes."""
    (tmp_path / "s.csv").write_bytes('\ufeffuri,id\r\n"/d/a, b.tif",one\r\n\r\n'.encode())
    assert read_manifest(str(tmp_path / "s.csv")) == [Row(uri="/d/a, b.tif", id="one")]


@pytest.mark.parametrize(
    "document",
    [
        ["/d/a.tif", "/d/b.tif"],
        [{"uri": "/d/a.tif"}, {"href": "/d/b.tif"}],
        {"scenes": ["/d/a.tif", {"path": "/d/b.tif"}]},
        {"window": [0, 0, 4, 4], "destination": "/d/out.tif", "datasets": ["/d/a.tif", "/d/b.tif"]},
    ],
)
def test_json(tmp_path: Path, document: Any) -> None:
    assert read_manifest(write(tmp_path, "s.json", document)) == [Row(uri="/d/a.tif"), Row(uri="/d/b.tif")]


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2023-01-02", DAY),
        ("2023-01-02T10:44:41", datetime(2023, 1, 2, 10, 44, 41, tzinfo=UTC)),
        ("2023-01-02T10:44:41Z", datetime(2023, 1, 2, 10, 44, 41, tzinfo=UTC)),
        ("2023-01-02T01:00:00+01:00", DAY),
        ("20230102", DAY),
        (20230102, DAY),
        ("20230102T104441", datetime(2023, 1, 2, 10, 44, 41, tzinfo=UTC)),
        ("2023-01-02t10:44:41z", datetime(2023, 1, 2, 10, 44, 41, tzinfo=UTC)),
    ],
)
def test_moments_are_utc(tmp_path: Path, written: str | int, moment: datetime) -> None:
    """One moment is written one way only, so that a plan does not depend on how its manifest writes it."""
    (row,) = read_manifest(write(tmp_path, "s.json", [{"uri": "/d/a.tif", "datetime": written}]))
    assert row.datetime is not None
    assert row.datetime.isoformat() == moment.isoformat()


def test_relative_addresses_are_meant_from_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ["a.tif", "sub/b.tif", "../c.tif", "/d/e.tif", "gs://bucket/f.tif"]
    absolute = [f"{tmp_path}/m/a.tif", f"{tmp_path}/m/sub/b.tif", f"{tmp_path}/c.tif", "/d/e.tif", "gs://bucket/f.tif"]
    uri = write(tmp_path, "m/s.json", listed)
    assert [r.uri for r in read_manifest(uri)] == absolute
    monkeypatch.chdir(tmp_path / "m")
    assert [r.uri for r in read_manifest("s.json")] == absolute


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("s.csv", "", r"The header of .*s\.csv is None"),
        ("s.csv", "/d/a.tif\n/d/b.tif\n", r"The header of .*s\.csv is \['/d/a\.tif'\]"),
        ("s.csv", "uri\n", r"The manifest .*s\.csv lists no scene"),
        ("s.csv", "uri,cloud\n/d/a.tif,5\n", r"In line 2 of .*s\.csv: unknown cloud"),
        ("s.csv", "uri,id\n/d/a.tif,a\n\n,b\n", r"In line 4 of .*s\.csv: no uri"),
        (
            "s.csv",
            "uri,datetime\n/d/a.tif,2023-02-30\n",
            r"In line 2 of .*: datetime: Input should be a valid datetime",
        ),
        ("s.csv", "uri,datetime\n/d/a.tif,1672531200\n", r"datetime: .*1672531200 is a number and no date; 2023-01-02"),
        ("s.csv", "uri,datetime\n/d/a.tif,20230230\n", r"In line 2 of .*: datetime: "),
        ("s.json", [{"uri": "/d/a.tif", "datetime": 2023.5}], r"In entry 1 of .*: datetime: .*2023\.5 is a number"),
        ("s.json", [{"uri": "/d/a.tif", "datetime": True}], r"In entry 1 of .*: datetime: "),
        ("s.csv", "uri,cloud_cover\n/d/a.tif,much\n", r"In line 2 of .*: cloud_cover: Input should be a valid number"),
        ("s.csv", "uri\n/d/a.tif,/d/b.tif\n", r"In line 2 of .*: unknown None"),
        ("s.json", "", r"s\.json is not JSON"),
        ("s.json", "{'scenes': []}", r"s\.json is not JSON \(Expecting property name"),
        ("s.json", [], r"lists no scene"),
        ("s.json", {"images": ["/d/a.tif"]}, r"is JSON, but lists no scenes"),
        ("s.json", '"a.tif"', r"is JSON, but lists no scenes"),
        ("s.json", ["/d/a.tif", 7], r"In entry 2 of .*s\.json: unknown not an object"),
        ("s.json", [{"uri": 7}], r"In entry 1 of .*s\.json: uri: Input should be a valid string"),
        ("s.json", ["/d/a.tif", {"id": "b"}], r"In entry 2 of .*s\.json: no uri"),
    ],
)
def test_refused_by_the_row(tmp_path: Path, name: str, content: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_manifest(write(tmp_path, name, content))
    assert caught.value.exit_code == 2
    assert caught.value.wanted


def test_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"The manifest .*none\.csv cannot be read .*it is not there"):
        read_manifest(str(tmp_path / "none.csv"))


def test_manifest_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"uri\n\xff\xfe.tif\n")
    with pytest.raises(InputError, match=r"is not text in UTF-8 \(invalid start byte\)"):
        read_manifest(str(tmp_path / "s.csv"))


def test_one_file_is_no_two_scenes(tmp_path: Path) -> None:
    (tmp_path / "a_20230102.tif").write_bytes(b"x")
    manifest = write(tmp_path, "s.csv", "uri,id\na_20230102.tif,one\n./a_20230102.tif,two\n")
    with pytest.raises(InputError, match=r"One file is two scenes, one and two \(.*a_20230102\.tif\).*each file once"):
        find_scenes(manifest)


def test_scenes_of_a_manifest(tmp_path: Path) -> None:
    """What a row leaves open is found from the file's name; what it says wins."""
    for name in ("a_20230105.tif", "b_20230101.tif", "undated.tif"):
        (tmp_path / name).write_bytes(b"x" * 10)
    rows = "uri,id,datetime,cloud_cover\na_20230105.tif,,,\nb_20230101.tif,,2023-01-06,\nundated.tif,u,2023-01-03,7\n"
    scenes = find_scenes(write(tmp_path, "s.csv", rows))
    assert [(s.id, f"{s.datetime:%m%d}", s.cloud_cover) for s in scenes] == [
        ("u", "0103", 7.0),
        ("a_20230105", "0105", None),
        ("b_20230101", "0106", None),
    ]
    assert [s.size for s in scenes] == [10, 10, 10]
    assert scenes[0].uri == str(tmp_path / "undated.tif")


def test_files_of_a_manifest_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "a_20230101.tif").write_bytes(b"x")
    uri = write(tmp_path, "s.json", ["a_20230101.tif", "b_20230101.tif", "c_20230101.tif"])
    with pytest.raises(InputError, match=r"2 of 3 scenes of the manifest are not there: .*b_2023.*, .*c_2023"):
        find_scenes(uri)


def test_two_rows_of_one_id_are_refused(tmp_path: Path) -> None:
    for name in ("a_20230101.tif", "b_20230102.tif"):
        (tmp_path / name).write_bytes(b"x")
    uri = write(tmp_path, "s.csv", "uri,id\na_20230101.tif,one\nb_20230102.tif,one\n")
    with pytest.raises(InputError, match=r"1 scene names stand for more than one file, the first is one \(.*a_2023"):
        find_scenes(uri)


def test_payload(tmp_path: Path) -> None:
    document = {"datasets": ["a.tif", "gs://b/c.tif"], "window": [1, 2, 3, 4], "destination": "gs://b/out.tif"}
    payload = read_payload(write(tmp_path, "p.json", document))
    assert payload == Payload(
        datasets=[f"{tmp_path}/a.tif", "gs://b/c.tif"], window=(1, 2, 3, 4), destination="gs://b/out.tif"
    )


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"datasets": [], "window": [1, 2, 3], "destination": "x"}, r"window\.3: Field required"),
        ({"datasets": [], "window": [1, 2, 3, 4]}, "destination: Field required"),
        ({"datasets": [], "window": [1, 2, 3, 4], "destination": "x", "dst": 1}, "dst: Extra inputs"),
        ([], "Input should be a valid dictionary"),
        ("nothing", "is not JSON"),
    ],
)
def test_payload_refused(tmp_path: Path, document: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_payload(write(tmp_path, "p.json", document))
