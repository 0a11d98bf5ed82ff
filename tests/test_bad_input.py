"""Bad input: one paragraph that says what was found, what was wanted and what to do; nothing lost; nothing started."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from conftest import random_pixels, write_scene
from refusals import Refused
from runs import finished

from clearyear import cli
from clearyear.job import Job
from clearyear.prepare import prepare
from clearyear.stores import open_store
from clearyear.window import compute_window

pytestmark = pytest.mark.usefixtures("no_prefect")


@pytest.fixture
def job_file(tmp_path: Path, scenes: Path) -> Callable[..., Path]:
    def write(**keys: Any) -> Path:
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump({"scenes": str(scenes), "period": "2023", "out": str(tmp_path / "out"), **keys}))
        return path

    return write


# -- the job -------------------------------------------------------------------------------------------------


def test_unknown_key_with_a_suggestion(refused: Refused, job_file: Callable[..., Path]) -> None:
    path = job_file(tilesize=512)
    refused("run", path, says=(f"In the job file {path}", "unknown key 'tilesize' (did you mean 'tile_size'?)"))


def test_a_key_written_as_a_flag(refused: Refused, job_file: Callable[..., Path]) -> None:
    refused(
        "plan", job_file(**{"max-failed-reads": 1}), says=("'max-failed-reads' (did you mean 'max_failed_reads'?)",)
    )


def test_a_key_like_no_other(refused: Refused, job_file: Callable[..., Path]) -> None:
    message = refused("run", job_file(colour="red"), says=("unknown key 'colour'.", "the keys scenes, out, period"))
    assert "did you mean" not in message


def test_several_wrong_values_at_once(refused: Refused, job_file: Callable[..., Path]) -> None:
    path = job_file(tile_size=0, workers=0, reducer="medain", min_completeness=3, layers=["cont"], compress="lzma")
    says = ("tile_size = 0: ", "workers = 0: ", "reducer = 'medain': ", "min_completeness = 3: ", "compress = 'lzma': ")
    refused(
        "run", path, says=(*says, "layers.0 = 'cont': Input should be 'count', 'source', 'smad', 'emad' or 'bcmad'")
    )


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--tile-size", "0", "tile_size = 0: Input should be greater than or equal to 16"),
        ("--workers", "0", "workers = 0: Input should be greater than or equal to 1"),
        ("--reducer", "mean", "reducer = 'mean': Input should be 'luminance-median', 'band-median', "),
        ("--layers", "count,cloud", "layers.1 = 'cloud': Input should be 'count' or 'source'"),
        ("--nodata", "0,black", "nodata.1 = 'black': Input should be a valid number"),
        ("--compress", "zip", "compress = 'zip': Input should be 'deflate', 'zstd', 'lzw' or 'jpeg'"),
        ("--product", "my/product", "product = 'my/product': "),
        ("--max-failed-reads", "-1", "max_failed_reads = -1: "),
        ("--min-completeness", "1.5", "min_completeness = 1.5: Input should be less than or equal to 1"),
        ("--memory-limit", "lots", "memory_limit = 'lots': a size is 2GiB, 1500MB or a number of bytes"),
        ("--memory-limit", "100MB", "100 MB of memory (memory_limit) cannot hold one row of one block of all 7 scenes"),
        ("--out", "", "out = '': String should have at least 1 character"),
        ("--scenes", "", "'scenes' is missing"),
        ("--out", "ftp://host/a", "The address 'ftp://host/a"),
        ("--scenes", "gs://", "The address 'gs://' cannot be used"),
        ("--pattern", "%Q_*.tif", "The pattern '%Q_*.tif' cannot be used (unknown code %Q)"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "plan"])
def test_a_wrong_value(refused: Refused, flags: tuple[str, ...], verb: str, option: str, value: str, says: str) -> None:
    refused(verb, *flags, option, value, says=(says,))


def test_a_memory_limit_no_window_fits(
    refused: Refused, flags: tuple[str, ...], scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = ("cannot hold one row of one block of all 7 scenes", "at least 5", "more memory")
    refused("window", *flags, "--id", "x00000_y00000", "--memory-limit", "300MB", says=says)
    monkeypatch.setenv("CLEARYEAR_MEMORY_LIMIT", "300MB")
    refused("window", *flags, "--id", "x00000_y00000", says=("300 MB of memory (CLEARYEAR_MEMORY_LIMIT) ", *says))
    payload = tmp_path / "payload.json"
    datasets = [str(path) for path in sorted(scenes.glob("*.tif"))]
    destination = str(tmp_path / "w.tif")
    payload.write_text(json.dumps({"datasets": datasets, "window": [0, 0, 9, 9], "destination": destination}))
    refused("window", payload, says=("300 MB of memory (CLEARYEAR_MEMORY_LIMIT) ", *says))


def test_a_memory_limit_in_the_environment_that_is_none(
    refused: Refused, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARYEAR_MEMORY_LIMIT", "plenty")
    refused("run", *flags, says=("CLEARYEAR_MEMORY_LIMIT = 'plenty'", "2GiB, 1500MB or a number of bytes"))


def test_a_repairs_memory_limit(refused: Refused, scenes: Path, tmp_path: Path) -> None:
    finished(scenes, tmp_path / "out")
    refused("repair", tmp_path / "out", "--memory-limit", "lots", says=("'lots' is no size", "2GiB, 1500MB"))


@pytest.mark.parametrize(
    ("period", "says"),
    [
        ("2023--P0Y", "The period '2023--P0Y' is empty"),
        ("2023-09-01/2023-05-01", "it ends at 2023-05-01, not after its start 2023-09-01"),
        ("2023-05-01/2023-05-01", "it ends at 2023-05-01, not after its start 2023-05-01"),
        ("2023-13", "The period '2023-13' is not a date (month must be in 1..12)"),
        ("last summer", "The period 'last summer' cannot be read"),
        ("2023-05-01/soon", "The period '2023-05-01/soon' cannot be read"),
    ],
)
def test_a_period_that_is_none(refused: Refused, flags: tuple[str, ...], period: str, says: str) -> None:
    refused("run", *flags, "--period", period, says=(says,))


def test_no_scene_in_the_period(refused: Refused, flags: tuple[str, ...], scenes: Path) -> None:
    says = (f"None of the 7 scenes of {scenes} was taken in 2019--P1Y", "from 2023-01-15 to 2023-07-15")
    refused("run", *flags, "--period", "2019", says=says)


def test_no_job_at_all(refused: Refused, scenes: Path) -> None:
    refused("run", says=("No scenes are given", "a JOB.yaml, or --scenes (or --stac) and --out"))
    refused("run", "--scenes", scenes, says=("'out' is missing",))


def test_no_job_file(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "jbo.yaml"
    refused("run", path, says=(f"The job file {path} cannot be read (No such file or directory)",))
    refused("run", tmp_path, says=(f"The job file {tmp_path} cannot be read (Is a directory)",))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"scenes: [a\nout: {b", "is not YAML (while parsing"),
        (b"scenes: a\n\tout: b", "is not YAML (while scanning"),
        (b"\xff\xfe\x00\x01", "is not YAML"),
        (b"", "holds no keys"),
        (b"- scenes\n- out\n", "holds no keys"),
    ],
)
def test_bad_yaml(refused: Refused, tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(content)
    refused("run", path, says=(f"The job file {path} {says}",))


# -- the product ---------------------------------------------------------------------------------------------


def test_a_layer_the_reducer_has_not(refused: Refused, flags: tuple[str, ...]) -> None:
    arguments = (*flags, "--reducer", "band-median", "--layers", "count,source")
    refused("run", *arguments, says=("band-median has no layer source", "count"))


@pytest.mark.parametrize(
    ("reducer", "bands", "dtype", "says"),
    [
        ("luminance-median", 3, "uint16", "they have 3 bands of uint16. Wanted: three bands of uint8"),
        ("luminance-median", 1, "uint8", "they have 1 bands of uint8. Wanted: three bands of uint8"),
        ("band-median", 2, "float64", "they have 2 bands of float64. Wanted: one of uint8, uint16, int16, float32"),
    ],
)
def test_pixels_the_reducer_cannot_use(
    refused: Refused, flags: tuple[str, ...], tmp_path: Path, reducer: str, bands: int, dtype: str, says: str
) -> None:
    write_scene(tmp_path / "other" / "a_20230101.tif", np.ones((bands, 32, 32), dtype))
    arguments = (*flags, "--scenes", tmp_path / "other", "--reducer", reducer)
    refused("run", *arguments, says=(f"{reducer} cannot use these scenes: {says}", "choose another reducer or scenes"))


def test_jpeg_for_what_it_cannot_hold(refused: Refused, flags: tuple[str, ...], tmp_path: Path) -> None:
    write_scene(tmp_path / "other" / "a_20230101.tif", np.ones((3, 32, 32), np.uint16))
    arguments = (*flags, "--scenes", tmp_path / "other", "--reducer", "band-median", "--compress", "jpeg")
    refused("run", *arguments, says=("JPEG cannot hold 3 bands of uint16", "three bands of uint8", "use deflate"))


# -- the window ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window_id", ["x00064_y00000", "x00008_y00000", "x00000_y00048", "first", ""])
def test_a_window_outside_the_grid(refused: Refused, flags: tuple[str, ...], tmp_path: Path, window_id: str) -> None:
    says: tuple[str, ...] = ("No window is named",)
    if window_id:
        says = (f"The window '{window_id}' lies outside the grid of 50 × 40 px in windows of 16 px", "x00048_y00032")
    refused("window", *flags, "--id", window_id, says=says)
    assert not (tmp_path / "out").exists(), "no plan is written for a window that is none"


def test_a_payloads_window_outside(refused: Refused, scenes: Path, tmp_path: Path) -> None:
    path = tmp_path / "payload.json"
    payload = {"window": [40, 0, 16, 16], "destination": str(tmp_path / "a.tif"), "datasets": []}
    path.write_text(json.dumps({**payload, "datasets": [str(p) for p in scenes.glob("*.tif")]}))
    says = ("The window [40, 0, 16, 16] (column, row, width, height) lies outside the grid of 50 × 40 px",)
    refused("window", path, says=(*says, "clip the window at the grid's edge"))
    path.write_text(json.dumps(payload))
    refused("window", path, says=(f"{path} lists no datasets",))
    path.write_text('{"window": 3}')
    refused("window", path, says=(f"{path} is not a worker's payload (",))


# -- the destination -----------------------------------------------------------------------------------------


def test_a_file_in_the_way(refused: Refused, flags: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        says = (f"Cannot write {out}/luminance-median/2023--P1Y", "Not a directory", "a place that can be written")
        refused("run", *flags, "--out", out, says=says)
    (tmp_path / "out" / "luminance-median").mkdir(parents=True)
    (tmp_path / "out" / "luminance-median" / "2023--P1Y").write_text("mine")
    refused("run", *flags, says=(f"Cannot write {tmp_path}/out/luminance-median/2023--P1Y",))


def test_a_place_nobody_can_write(refused: Refused, flags: tuple[str, ...]) -> None:
    refused("run", *flags, "--out", "/proc/clearyear", says=("Cannot write /proc/clearyear/luminance-median",))
    refused(
        "window", *flags, "--out", "/proc/clearyear", "--id", "x00000_y00000", says=("Cannot write /proc/clearyear",)
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("--tile-size", "32"), "windows of 16 px there, 32 px now"),
        (("--nodata", "7"), "nodata and saturated values: 0 and 255 there, 7 and 255 now"),
        (("--layers", "count"), "layers: composite there, composite and count now"),
        (("--pattern", "*0[1-5]15T*"), "2 scenes gone (T31TCJ_20230615T104441_TCI, T31TCJ_20230715T104441_TCI)"),
    ],
)
def test_a_half_finished_run_of_another_plan(
    refused: Refused, flags: tuple[str, ...], scenes: Path, tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    plan = prepare(Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16))
    for window in plan.windows[:5]:
        compute_window(plan, window, open_store(plan.destination))
    named = (f"{plan.destination} already holds the run of another plan: ", says, "--overwrite", "another --out")
    refused("run", *flags, *change, says=named)
    refused("window", *flags, *change, "--id", "x00000_y00000", says=named)


def test_a_plan_that_cannot_be_read(refused: Refused, flags: tuple[str, ...], scenes: Path, tmp_path: Path) -> None:
    plan = finished(scenes, tmp_path / "out")
    path = Path(plan.destination) / "plan.json"
    text = path.read_text()
    damaged = {
        "{": "Expecting property name",
        "[]": "",
        "": "Expecting value",
        text[: len(text) // 2]: "",
        text.replace('"tile_size": 16', '"tile_size": 17'): "its id does not agree with its content",
    }
    for content, says in damaged.items():
        path.write_text(content)
        found = (f"{path} is no plan this version can use (", says)
        refused("run", *flags, says=("already holds the run of another plan: ", *found, "--overwrite"))
        for verb in ("report", "repair", "mosaic", "validate", "preview"):
            refused(verb, tmp_path / "out", says=(*found, "run the job again with --overwrite"))


@pytest.mark.parametrize("verb", ["report", "repair", "mosaic", "validate", "preview"])
def test_a_folder_that_holds_no_run(refused: Refused, tmp_path: Path, verb: str) -> None:
    (tmp_path / "empty").mkdir()
    says = (f"{tmp_path / 'empty'} holds no run", "plan.json", "give what --out was")
    refused(verb, tmp_path / "empty", says=says)
    refused(verb, tmp_path / "nowhere", says=(f"Cannot list {tmp_path / 'nowhere'}: No such file or directory",))
    (tmp_path / "file").write_text("mine")
    refused(verb, tmp_path / "file", says=(f"Cannot list {tmp_path / 'file'}: Not a directory",))


# -- pictures ------------------------------------------------------------------------------------------------


def test_a_preview_of_what_is_no_picture(refused: Refused, tmp_path: Path, scenes: Path) -> None:
    (tmp_path / "a.tif").write_text("no picture")
    refused("preview", tmp_path / "a.tif", says=(f"There is no picture to make of {tmp_path / 'a.tif'}: ",))
    refused(
        "preview", tmp_path / "b.tif", says=(f"There is no picture to make of {tmp_path / 'b.tif'}: ", "No such file")
    )
    plan = prepare(Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16))
    says = (f"There is no picture to make of {plan.destination}: ", "clearyear report")
    refused("preview", tmp_path / "out", says=says)


def test_a_preview_to_where_nobody_can_write(refused: Refused, tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", random_pixels(np.random.default_rng(1), (3, 32, 32)))
    refused("preview", path, "/proc/clearyear/a.jpg", says=("Cannot write /proc/clearyear",))


# -- what click itself refuses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--tile-size", "big"), "'big' is not a valid integer"),
        (("run", "--tilesize", "16"), "No such option '--tilesize'"),
        (("rum",), "No such command 'rum'"),
        (("report",), "Missing argument 'OUT'"),
        (("repair", "out", "--workers", "0"), "0 is not in the range x>=1"),
        (("preview", "out", "--size", "1"), "1 is not in the range 16<=x<=8192"),
    ],
)
def test_usage_errors_are_wrong_input_too(arguments: tuple[str, ...], says: str) -> None:
    result = CliRunner().invoke(cli.main, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr.replace('"', "'")
    assert "Traceback" not in result.stderr
