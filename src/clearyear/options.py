"""What the verbs of the command line share: options, errors as one paragraph, exit codes."""

import functools
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from clearyear import console
from clearyear.errors import ClearyearError, InputError
from clearyear.source_options import source_keys, source_options

if TYPE_CHECKING:
    from clearyear.job import Job

# The contract of run, demo, repair, report and mosaic holds for a failure too, so that a program need not look first.
_NOTHING: dict[str, Any] = {
    "mosaic": None,
    "expected": 0,
    "ok": 0,
    "missing": [],
    "invalid": [],
    "stale": [],
    "empty": [],
    "failed_reads": 0,
    "report": None,
    "stac_item": None,
    "layers": {},
    "causes": {},
    "problem": "",
    "unread": [],
    "failed_scenes": [],
    "mend": [],
}


def verb(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --json and --debug, and turn what a verb returns or raises into an exit code."""

    @click.option("--json", "as_json", is_flag=True, help="The last thing on stdout is one JSON object.")
    @click.option("--debug", is_flag=True, help="Show Prefect's log, and the traceback of an error.")
    @functools.wraps(function)
    def wrapper(*args: Any, debug: bool, as_json: bool, **kwargs: Any) -> None:
        console.set_up(debug=debug)
        try:
            sys.exit(function(*args, as_json=as_json, **kwargs) or 0)
        except (click.ClickException, BrokenPipeError):
            raise  # click has its own words and codes for these
        except KeyboardInterrupt as stop:
            text, code = str(stop) or console.STOPPED, 130
        except Exception as error:
            if debug:
                raise
            text, code = f"Error: {words_of(error)}", getattr(error, "exit_code", 1)
        if as_json:
            console.print_json(failed(function.__name__, text.removeprefix("Error: ")))
        console.note(text)
        sys.exit(code)

    return wrapper


def failed(name: str, text: str) -> dict[str, Any]:
    """What ``--json`` prints of a verb that an error has ended."""
    rest = _NOTHING if name in ("run", "demo", "repair", "report", "mosaic") else {}
    return {"status": "failed", **rest, "error": text}


def words_of(error: Exception) -> str:
    """One paragraph. What is not ours is a bug or a broken environment: it is named, and how to see more of it."""
    if not isinstance(error, ClearyearError):
        error = ClearyearError(
            f"{type(error).__name__}: {error}",
            "no error of this kind: it is clearyear's fault or its environment's",
            "run the same command with --debug to see where it comes from",
        )
    return re.sub(r"\s*\n\s*", " ", str(error)).strip()


def _grid_options() -> list[Callable[..., Any]]:
    """Onto which grid scenes are brought."""
    return [
        click.option("--crs", help="CRS of the result: EPSG:32633.  [default: the scenes' own]"),
        click.option("--resolution", help="Its pixels: a number in units of the CRS, or a band whose pixels it takes."),
        click.option("--area", help="Crop to west,south,east,north in degrees, or to a GeoJSON file."),
        click.option("--resampling", help="nearest, bilinear or cubic, for bands on another grid.  [default: nearest]"),
    ]


def _engine_options() -> list[Callable[..., Any]]:
    """What computes the windows, and which of them."""
    return [
        click.option("--workers", type=int, help="Windows computed at once.  [default: one a core]"),
        click.option("--memory-limit", help="Memory of the whole container: 2GiB, 1500MB.  [default: its own limit]"),
        click.option(
            "--work-pool", help="Split the windows into jobs on this Prefect work pool.  [default: in-process]"
        ),
        click.option("--windows-per-shard", type=int, help="Windows of one such job at most.  [default: 50]"),
        click.option("--runner", help="threads, processes or dask.  [default: threads]"),
        click.option("--select", multiple=True, help="Only these windows: id, number, ::10 or polygons in a .geojson."),
    ]


def _output_options() -> list[Callable[..., Any]]:
    """What the reducer is told, and in which files its layers lie."""
    return [
        click.option("--options", help="The reducer's own: '{percentiles: [10, 50, 90]}', '{eps: 0.1}'."),
        click.option("--outputs", help="stacked or per-band: a layer's bands in one file or each.  [default: stacked]"),
        click.option(
            "--display", help="RGBA picture beside the mosaic: '{bands: [red, green, blue], min: 0, max: 3000}'."
        ),
    ]


def job_options(function: Callable[..., Any], *, metavar: str = "[JOB.yaml]") -> Callable[..., Any]:
    """The job as flags; each overrides the job file's key of the same name."""
    options = [
        click.argument("job_file", required=False, metavar=metavar),
        click.option("--scenes", help="Folder or gs:// prefix of scenes, or a manifest (.csv, .json)."),
        click.option("--period", help="2023, 2023-06, 2023-06--P3M, start/end or all.  [default: the year just ended]"),
        click.option("--days", help="Whose days a period begins and ends with: utc or solar.  [default: utc]"),
        click.option("--out", help="Destination: a folder or gs:// prefix."),
        click.option("--pattern", help="Which files are scenes, e.g. '*_TCI.tif' or 'S2_%Y%j_*.tif'."),
        click.option(
            "--reducer",
            help="luminance-median, band-median, geomedian, percentiles, clear-count or a plug-in's "
            "package.module:Class.  [default: luminance-median]",
        ),
        click.option("--product", help="Product name.  [default: the reducer's]"),
        click.option(
            "--layers", help="Extra layers, comma-separated: count,source; count,smad,emad,bcmad of geomedian."
        ),
        click.option("--tile-size", type=int, help="Side of a window in pixels.  [default: 1024]"),
        click.option("--nodata", help="Nodata values, comma-separated, or none.  [default: the scenes' tag]"),
        click.option(
            "--saturated", help="Saturated values, comma-separated, or none.  [default: 255 for luminance-median]"
        ),
        click.option("--max-failed-reads", type=int, help="Scenes that may fail to read in a window.  [default: 0]"),
        click.option("--min-completeness", type=float, help="Least share of windows for a mosaic.  [default: 1.0]"),
        click.option("--allow-missing", is_flag=True, default=None, help="Publish even an incomplete mosaic."),
        click.option(
            "--compress", help="The mosaic's: deflate, zstd, zstd:15, lzw, jpeg or {count: lzw}.  [default: deflate]"
        ),
        click.option("--overwrite", is_flag=True, default=None, help="Replace another plan at the destination."),
        *_engine_options(),
        *_grid_options(),
        *_output_options(),
        *source_options(),
        click.option("--naming", help="Folder and files of a period, such as 'monthly-mosaic-{start:%Y-%m}'."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _mapping(key: str, text: str) -> Any:
    """A flag's value that is written as in a job file: {a: 1, b: [2, 3]}."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        raise InputError(f"--{key} {text!r} cannot be read ({words})", "{key: value, …}", "correct it") from error


def read_job(job_file: str | None, flags: dict[str, Any]) -> "Job":
    """The job of a file, of flags, or of both; flags win.

    Raises:
        InputError: there is neither, or a key or value is wrong.
    """
    from clearyear.job import make_job
    from clearyear.job_file import load_job

    given = source_keys({key: value for key, value in flags.items() if value not in (None, ())})
    for key in ("options", "display", "compress"):
        if str(given.get(key, "")).lstrip().startswith("{"):
            given[key] = _mapping(key, given[key])
    if job_file:
        return load_job(job_file, **given)
    if "scenes" not in given and "stac" not in given:
        raise InputError(
            "No scenes are given", "a JOB.yaml, or --scenes (or --stac) and --out", "see `clearyear run --help`"
        )
    return make_job(given, where="the arguments")
