"""The task that is mapped over images, and what an operator sees of a look at the lists."""

from collections.abc import Sequence
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run
from prefect.tasks import exponential_backoff

from clearyear.convert.image import convert_image
from clearyear.convert.record import Image, Options
from clearyear.convert.run import Failure, Result
from clearyear.report_text import table
from tasks.window_median import is_transient

RETRIES = 3
TIMEOUT_SECONDS = 3600.0
CONVERT_TAG = "clearyear-convert"
"""Limit how many images are converted at once, anywhere: `prefect concurrency-limit create clearyear-convert 50`."""

_SHOWN = 500
"""Rows of the table; the browser is the limit. All of them are in the CSVs of causes."""


def _name() -> str:
    image: Image = task_run.parameters["image"]
    return image.name


@task(
    name="convert-image",
    task_run_name=_name,
    tags=[CONVERT_TAG],
    retries=RETRIES,
    # Spread by half, so that a store that was overloaded is not asked by all at the same moment again.
    retry_delay_seconds=exponential_backoff(10),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_transient,
    timeout_seconds=TIMEOUT_SECONDS,
    cache_policy=NO_CACHE,  # what lies at the destination decides, by its record
)
def convert_one(image: Image, out: str, options: Options, run: str) -> dict[str, Any]:
    """Convert one image, unless this version of it lies at ``out``, whole."""
    return convert_image(image, out, options, run=run).model_dump(mode="json")


def show_results(lists: dict[str, Sequence[Result]], problems: dict[str, Failure], written: Sequence[str]) -> None:
    """Create the artifacts convert-summary and failed-images.

    Args:
        lists: the address of each CSV as it was found → what became of its rows.
        problems: the address of a CSV that failed as a whole → why.
        written: the CSVs that say what became of them.
    """
    failed = [(csv, r) for csv, results in lists.items() for r in results if r.failure]
    rows = [
        {"image": r.called, "cause": r.failure.cause, "what to do": r.failure.do, "list": csv}
        for csv, r in failed
        if r.failure
    ]
    rows += [{"image": "(all)", "cause": p.cause, "what to do": p.do, "list": csv} for csv, p in problems.items()]
    head = ["list", "images", "converted", "as before", "failed"]
    counts = [[csv, *_counts(results)] for csv, results in lists.items()]
    counts += [[csv, "?", "0", "0", "all"] for csv in problems]
    lines = ["# Images converted", "", *table(head, counts), "", "Written:", "", *(f"- `{uri}`" for uri in written)]
    create_markdown_artifact("\n".join(lines), key="convert-summary", description=f"{len(counts)} lists")
    create_table_artifact(rows[:_SHOWN], key="failed-images", description=_advice(rows))


def _counts(results: Sequence[Result]) -> list[str]:
    done = [r.converted for r in results if r.converted]
    kept = sum(c.kept for c in done)
    return [f"{n:,}" for n in (len(results), len(done) - kept, kept, len(results) - len(done))]


def _advice(rows: Sequence[dict[str, str]]) -> str:
    if not rows:
        return "None: all images are converted"
    more = f" The first {_SHOWN} are shown; all are in the lists of causes." if len(rows) > _SHOWN else ""
    return (
        f"{len(rows)} failed.{more} Mend the cause, then Retry this run, or rename the failed list so that it ends in "
        "raw.csv: what is converted already is not converted again."
    )
