"""Scenes that cannot be used: absent, unlike, unreadable, without a date; each said in one paragraph."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from conftest import write_scene
from loopback.gcs import GcsServer
from refusals import Refused

from clearyear.demo import make_scenes
from clearyear.stores import gcs

pytestmark = pytest.mark.usefixtures("no_prefect")


# -- the scenes ----------------------------------------------------------------------------------------------


def test_no_scenes(refused: Refused, flags: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    says = (f"No scenes: {tmp_path / 'empty'} holds 0 files", "correct the address or the pattern")
    refused("run", *flags, "--scenes", tmp_path / "empty", says=says)


def test_no_scene_matches(refused: Refused, flags: tuple[str, ...], scenes: Path) -> None:
    says = (f"{scenes} holds 7 files, none of which matches *.jp2",)
    refused("run", *flags, "--pattern", "*.jp2", says=says)


def test_folder_missing(refused: Refused, flags: tuple[str, ...], tmp_path: Path) -> None:
    refused("run", *flags, "--scenes", tmp_path / "nowhere", says=(f"{tmp_path / 'nowhere'}: No such file",))


def test_a_name_without_a_date(refused: Refused, flags: tuple[str, ...], scenes: Path) -> None:
    min(scenes.glob("*.tif")).rename(scenes / "january.tif")
    refused("run", *flags, says=("The file january.tif", "tells no date", "--pattern"))


def test_bucket_missing(refused: Refused, flags: tuple[str, ...], bucket: GcsServer) -> None:
    refused("run", *flags, "--scenes", "gs://not-there/2023", says=("gs://not-there/2023", "does not exist"))
    refused("run", *flags, "--out", "gs://not-there/out", says=("gs://not-there/out", "does not exist"))
    refused("report", "gs://not-there/out", says=("gs://not-there/out", "does not exist"))
    refused("run", *flags, "--scenes", "gs://in/2023", says=("No scenes: gs://in/2023 holds 0 files",))


def test_no_credentials(
    refused: Refused, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "CLEARYEAR_GS_ANONYMOUS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    gcs._gcs_client.cache_clear()
    says = ("No Google credentials were found", "CLEARYEAR_GS_ANONYMOUS=1", "gcloud auth application-default login")
    refused("run", *flags, "--scenes", "gs://bucket/2023", says=says)
    refused("run", *flags, "--out", "gs://bucket/out", says=says)
    gcs._gcs_client.cache_clear()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"I am no picture", "not recognized as being in a supported file format"),
        (b"", "not recognized as being in a supported file format"),
        (b"II*\0\x08\0\0\0", ""),
    ],
    ids=["text", "zero bytes", "eight bytes"],
)
def test_a_scene_that_is_no_tiff(
    refused: Refused, flags: tuple[str, ...], scenes: Path, content: bytes, says: str
) -> None:
    path = sorted(scenes.glob("*.tif"))[3]
    path.write_bytes(content)
    named = f"1 of 7 scenes cannot be opened: {path.stem} ({path}: "
    for verb in ("run", "plan", "window"):
        extra = ("--id", "x00000_y00000") if verb == "window" else ()
        refused(verb, *flags, *extra, says=(named, says, "at most 0 may fail (max_failed_reads)"))


@pytest.fixture
def cogs(tmp_path: Path) -> list[Path]:
    """Three COGs, their headers in front and their pixels behind."""
    return make_scenes(tmp_path / "cogs", count=3, size=96)


def test_a_cog_with_its_header_cut_off(refused: Refused, flags: tuple[str, ...], cogs: list[Path]) -> None:
    cogs[1].write_bytes(cogs[1].read_bytes()[:150])
    says = (f"1 of 3 scenes cannot be opened: {cogs[1].stem} ({cogs[1]}: ",)
    refused("run", *flags, "--scenes", cogs[1].parent, says=says)


def test_a_cog_with_its_body_cut_off(
    refused: Refused, flags: tuple[str, ...], cogs: list[Path], tmp_path: Path
) -> None:
    """It opens, so only reading a window can tell; what was cut off is pixels, and is not taken for nodata."""
    cogs[1].write_bytes(cogs[1].read_bytes()[:-2000])
    arguments = (*flags, "--scenes", cogs[1].parent)
    # The window of the file's end, in its one block.
    says = (
        f"1 of 3 scenes could not be read: {cogs[1].stem} (",
        "at most 0 (max_failed_reads)",
        "replace these files and run again with --overwrite, leave them out, or allow that many: --max-failed-reads 1",
    )
    refused("window", *arguments, "--id", "x00080_y00080", says=says, code=1)
    assert not list((tmp_path / "out").rglob("*.tif"))


@pytest.mark.parametrize(
    ("profile", "shape", "dtype", "says"),
    [
        ({}, (3, 40, 48), "uint8", "size 48×40 px instead of 50×40 px"),
        ({"transform": Affine(10, 0, 300010, 0, -10, 4900020)}, (3, 40, 50), "uint8", "transform (10.0, 0.0, 300010.0"),
        ({"crs": "EPSG:32632"}, (3, 40, 50), "uint8", "CRS EPSG:32632 instead of EPSG:32631"),
        ({}, (4, 40, 50), "uint8", "bands 4 instead of 3"),
        ({}, (3, 40, 50), "uint16", "dtype uint16 instead of uint8"),
        ({"nodata": None}, (3, 40, 50), "uint8", "nodata None instead of 0.0"),
    ],
    ids=["size", "shift", "crs", "bands", "dtype", "nodata"],
)
def test_a_scene_unlike_the_others(
    refused: Refused,
    flags: tuple[str, ...],
    scenes: Path,
    profile: dict[str, Any],
    shape: tuple[int, ...],
    dtype: str,
    says: str,
) -> None:
    path = sorted(scenes.glob("*.tif"))[4]
    write_scene(path, np.ones(shape, dtype), **profile)
    refused("run", *flags, says=(f"1 of 7 scenes differ from the others: {path.stem}: ", says, "nothing is resampled"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "", "The header of "),
        ("a.csv", "name,date\na.tif,2023\n", "The header of "),
        ("a.csv", "uri,datum\na.tif,2023\n", "In line 2 of {path}: unknown datum"),
        ("a.csv", "uri,datetime\na_20230101.tif,yesterday\n", "In line 2 of {path}: datetime: "),
        ("a.csv", "uri,id\n,s1\n", "In line 2 of {path}: no uri"),
        ("a.csv", "uri\n", "The manifest {path} lists no scene"),
        ("a.csv", "uri\nnowhere_20230101.tif\n", "1 of 1 scenes of the manifest are not there: "),
        ("a.json", "[", "{path} is not JSON ("),
        ("a.json", "[]", "The manifest {path} lists no scene"),
        ("a.json", '{"urls": []}', "{path} is JSON, but lists no scenes"),
        ("a.json", '["a_20230101.tif", 7]', "In entry 2 of {path}: "),
        ("a.json", '[{"uri": "a_20230101.tif", "cloud_cover": "much"}]', "In entry 1 of {path}: cloud_cover: "),
    ],
)
def test_bad_manifest(
    refused: Refused, flags: tuple[str, ...], tmp_path: Path, name: str, content: str, says: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    refused("run", *flags, "--scenes", path, says=(says.format(path=path),))


def test_manifest_missing(refused: Refused, flags: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "scenes.csv"
    refused("run", *flags, "--scenes", path, says=(f"The manifest {path} cannot be read (", "it is not there"))
