"""What the tests share: real imagery, scenes made on the spot, one Prefect for the session."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from harness import Database, Prefect, copy_of_prefect_yaml, running_prefect
from hypothesis import settings
from numpy.typing import NDArray
from refusals import elsewhere, no_prefect, refused  # noqa: F401  fixtures

from clearyear import console

if TYPE_CHECKING:
    from cloud_harness import Cloud
    from loopback.gcs import GcsServer
    from loopback.http import HttpServer

    from clearyear.plan import Plan

# Nothing of a test is kept for the next run; those that are about keeping say where.
os.environ["CLEARYEAR_CACHE"] = ""

# Numba, Prefect's first start and the shared machine make single examples slow now and then.
settings.register_profile("default", deadline=None, print_blob=True)
settings.load_profile("default")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real imagery beside the checkout; it is not part of the project."""

SceneMaker = Callable[..., Path]

_SERVERS = ("cloud", "prefect", "prefect_server")
"""Fixtures that start a server: tests that share one stay together, so that it starts once. The longest come first, so
that no process is left alone with them in the end."""


def pytest_configure(config: pytest.Config) -> None:
    """Groups go out in the order below; xdist's own is by the number of tests, which says nothing of their time."""
    config.option.loadscopereorder = False


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Tests of one file, and those of one server, go to one process (``--dist loadgroup``)."""

    def server(item: pytest.Item) -> str | None:
        wanted = getattr(item, "fixturenames", ())
        return next((name for name in _SERVERS if name in wanted), None)

    for item in items:
        item.add_marker(pytest.mark.xdist_group(server(item) or item.path.stem))
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (*_SERVERS, None).index(server(item)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """A group that xdist does not see starts its server in every process, and nothing else tells."""
    lost = [name for name in ids if "@" not in name]
    if node.config.option.dist == "loadgroup" and lost:
        pytest.exit(
            f"pytest-xdist has put {len(lost)} of {len(ids)} tests in no group. Wanted: the groups of conftest.py. "
            "What to do: install the versions of requirements/dev.lock.",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real imagery; a test that needs it skips where it is absent."""
    if not (DATA / "README.md").exists():
        pytest.skip(f"the real imagery is not here ({DATA.name} beside the checkout)")
    return DATA


def write_scene(path: Path, pixels: NDArray[Any], **profile: Any) -> Path:
    """A small GeoTIFF scene of (B, H, W) pixels: UTM 31N, 10 m, nodata 0, 16 px blocks unless said otherwise."""
    import rasterio
    from affine import Affine

    settings_ = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": str(pixels.dtype),
        "crs": "EPSG:32631",
        "transform": Affine(10, 0, 300000, 0, -10, 4900020),
        "nodata": 0,
        "tiled": True,
        "blockxsize": 16,
        "blockysize": 16,
        "compress": "deflate",
        **profile,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **settings_) as dataset:
        dataset.write(pixels)
    return path


def random_pixels(rng: np.random.Generator, shape: tuple[int, ...], *, invalid: float = 0.3) -> NDArray[np.uint8]:
    """(…, 3, H, W) uint8 with few values, so that ties are common, and a share of 0 and 255 in single bands."""
    pixels = rng.integers(60, 90, shape, dtype=np.uint8)
    spoiled = rng.random(shape) < invalid / 3
    return np.where(spoiled, rng.choice(np.array([0, 255], np.uint8), shape), pixels)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A folder of seven scenes of 2023, 50 × 40 px, with gaps, saturation and many ties."""
    rng = np.random.default_rng(7)
    folder = tmp_path / "scenes"
    for index, pixels in enumerate(random_pixels(rng, (7, 3, 40, 50))):
        write_scene(folder / f"T31TCJ_2023{index + 1:02d}15T104441_TCI.tif", pixels)
    return folder


@pytest.fixture
def poisoned(scenes: Path) -> Path:
    """One scene whose block at column 16, row 16 is damaged: its window fails, the others do not."""
    import rasterio

    path = sorted(scenes.glob("*.tif"))[2]
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
        size = int(dataset.get_tag_item("BLOCK_SIZE_1_1", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = bytes(size)
    path.write_bytes(data)
    return path


@pytest.fixture
def flags(scenes: Path, tmp_path: Path) -> tuple[str, ...]:
    """A small job on the command line: 12 windows."""
    return ("--scenes", str(scenes), "--period", "2023", "--out", str(tmp_path / "out"), "--tile-size", "16")


@pytest.fixture
def done(scenes: Path, tmp_path: Path) -> "Plan":
    """A run of 12 windows, complete and published."""
    from runs import finished

    return finished(scenes, tmp_path / "out", layers=["count", "source"])


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mosaic's image must not be encoded again."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr("clearyear.mosaic._encode_once", refuse)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads from elsewhere tries again twice and at once; nobody has read anything yet."""
    from clearyear.reading import sources

    for name, value in {
        "CLEARYEAR_RETRIES": "2",
        "CLEARYEAR_RETRY_SECONDS": "0.005",
        "GDAL_HTTP_MAX_RETRY": "2",
        "GDAL_HTTP_RETRY_DELAY": "0.01",
    }.items():
        monkeypatch.setenv(name, value)
    sources._source_of.cache_clear()


@pytest.fixture
def web() -> Iterator["HttpServer"]:
    """A web server of files, which can be told to fail."""
    from loopback.http import HttpServer

    with HttpServer() as running:
        yield running


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator["GcsServer"]:
    """A Cloud Storage of our own with the buckets in and out; GDAL and Google's client find it in the environment."""
    from loopback.gcs import GcsServer

    from clearyear.stores import gcs

    gcs._gcs_client.cache_clear()
    with GcsServer() as running:
        for name, value in running.env().items():
            monkeypatch.setenv(name, value)
        # Else the client asks for the bucket too, in a thread of its own, whenever that gets to run.
        monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        running.create_bucket("in")
        running.create_bucket("out")
        yield running
    gcs._gcs_client.cache_clear()


@pytest.fixture(scope="session", autouse=True)
def database(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Servers copy what the first has made, whichever process it is of (xdist's have a folder each in one)."""
    folder = tmp_path_factory.getbasetemp()
    Database.kept = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "prefect.db"


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Prefect with its own server and database for the whole session; starting it takes long."""
    home = tmp_path_factory.mktemp("prefect")
    for name, value in {**console.EMBEDDED, "PREFECT_HOME": str(home), "PREFECT_LOGGING_LEVEL": "CRITICAL"}.items():
        os.environ[name] = value
    from prefect.testing import utilities

    database = home / "harness" / "prefect-test.db"
    Database.put(database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utilities, "mkdtemp", lambda: str(database.parent))
        with utilities.prefect_test_harness(server_startup_timeout=180):
            Database.keep(database)
            yield


# The annual run is written into the database at most this long before it is due. Prefect's default of 100 days would
# make what is tested depend on the day of the test.
FAR_AHEAD = {"PREFECT_SERVER_SERVICES_SCHEDULER_MAX_SCHEDULED_TIME": "P400D"}


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e")


@pytest.fixture(scope="session")
def prefect(place: Path) -> Iterator[Prefect]:
    """Server, worker and the deployments, made from a folder that holds nothing but prefect.yaml."""
    with running_prefect(place, **FAR_AHEAD) as running:
        file = copy_of_prefect_yaml(place / "deploy")
        annual = {"CLEARYEAR_SCENES": str(place / "annual"), "CLEARYEAR_OUT": str(place / "composites")}
        convert = {"CLEARYEAR_CONVERT_INBOX": str(place / "inbox"), "CLEARYEAR_CONVERT_OUT": str(place / "converted")}
        lights = {"CLEARYEAR_LIGHTS_SOURCE": f"{place}/lights/{{yyyymm}}_{{tile}}.tif"}
        deploy = ("prefect", "--no-prompt", "deploy", "--all")
        done = running.command(*deploy, cwd=file.parent, **annual, **convert, **lights)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARNING" not in done.stdout + done.stderr
        assert list(file.parent.iterdir()) == [file]
        yield running


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Cloud"]:
    """Server, Cloud Run worker, a loopback Cloud Run and a loopback bucket, with the deployments."""
    from cloud_harness import running_cloud

    with running_cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running
