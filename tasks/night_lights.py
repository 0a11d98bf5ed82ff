"""The tasks of a month of tiles: one fetches a tile, one joins a month."""

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run
from prefect.tasks import exponential_backoff

from clearyear.lights.join import join_month
from clearyear.lights.month import Month
from clearyear.lights.tiles import Tile, fetch_tile
from tasks.window_median import is_transient

DOWNLOAD_TAG = "clearyear-download"
"""Limit how many tiles are fetched at once, anywhere: `prefect concurrency-limit create clearyear-download 6`."""


def _tile_name() -> str:
    return f"{task_run.parameters['month']} {task_run.parameters['name']}"


def _month_name() -> str:
    return str(task_run.parameters["month"].period.label)


@task(
    name="download-tile",
    task_run_name=_tile_name,
    tags=[DOWNLOAD_TAG],
    retries=4,
    retry_delay_seconds=exponential_backoff(5),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_transient,
    # A record of it in a cache is no file: what lies in the folder is looked at each time.
    cache_policy=NO_CACHE,
)
def download_tile(month: str, name: str, uri: str, folder: str, member: str) -> Tile:
    """Have one tile on this machine; a try that is not the first goes on from where the last one broke off."""
    del month  # it is in the run's name
    return fetch_tile(name, uri, Path(folder), member)


@task(
    name="month-mosaic",
    task_run_name=_month_name,
    retries=2,
    retry_delay_seconds=exponential_backoff(5),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
)
def month_mosaic(month: Month, tiles: list[Tile]) -> dict[str, Any]:
    """Join and publish a month, or say why not."""
    return join_month(month, tiles).model_dump(mode="json")
