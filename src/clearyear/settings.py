"""Settings of the machine rather than of the job: ``CLEARYEAR_*`` in the environment."""

import os
import re
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ByteSize, Field, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from clearyear.errors import InputError

_SIZE = re.compile(r"\s*\d+(\.\d+)?\s*([kmgt]?b?|[kmgt]ib?)\s*", re.IGNORECASE)


def _size(value: Any) -> Any:
    """``2Gi``, as Kubernetes and Cloud Run write it, for ``2GiB``; what is no size says what one looks like."""
    text = str(value)
    if isinstance(value, bool) or not _SIZE.fullmatch(text):
        raise ValueError("a size is 2GiB, 1500MB or a number of bytes")
    return f"{text.strip()}B" if text.strip().lower().endswith("i") else value


Bytes = Annotated[ByteSize, BeforeValidator(_size)]
"""A size in memory: 2GiB (binary), 1500MB (decimal) or plain bytes."""


def parse_size(text: str) -> int:
    """Bytes of a size as a user writes it.

    Raises:
        InputError: it is none.
    """
    try:
        return TypeAdapter(Bytes).validate_python(text)
    except ValidationError as error:
        raise InputError(f"{text!r} is no size", "2GiB, 1500MB or a number of bytes", "correct it") from error


class Settings(BaseSettings):
    """What a machine or a deployment sets once; every field is ``CLEARYEAR_<NAME>`` in the environment."""

    model_config = SettingsConfigDict(env_prefix="CLEARYEAR_", extra="ignore")

    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="Windows computed at once in one process."
    )
    reader: Literal["auto", "gdal"] = Field(
        default="auto", description="auto: scenes are read directly where that is understood; gdal: never."
    )
    jpeg2000: bool = Field(
        default=True, description="Read JPEG 2000; false: GeoTIFFs alone, where scenes may come from strangers."
    )
    memory_limit: Bytes | None = Field(
        default=None, description="Memory of the whole container; left out, its cgroup's limit if it has one."
    )
    shard_tries: int = Field(default=3, ge=1, description="How often a shard's unfinished windows are sent at most.")
    shard_poll_seconds: float = Field(default=5.0, gt=0, description="Pause between two looks at the shards' states.")
    shard_start_seconds: float = Field(
        default=1800.0, gt=0, description="A shard not begun in that time, while none was served, is lost."
    )
    shard_silence_seconds: float = Field(
        default=900.0,
        gt=0,
        description="A running shard that finished no window and was silent for so long is lost: five heartbeats.",
    )
    shard_stall_seconds: float = Field(
        default=14400.0,
        gt=0,
        description="A running shard that finished no window for so long is hung: one window's time-out, four times.",
    )
    ticket_renew_seconds: float = Field(default=60.0, gt=0, description="How often a watcher says that it is there.")
    ticket_stale_seconds: float = Field(
        default=900.0, gt=0, description="A list whose watcher was silent for so long is another's to take."
    )
    requests: int = Field(
        default=24, ge=1, le=256, description="Requests for scenes' bytes in flight at once, over all windows."
    )
    retries: int = Field(default=6, ge=0, description="How often a request that may yet succeed is tried again.")
    retry_seconds: float = Field(default=0.2, gt=0, description="About how long the first wait before that is.")
    silence_seconds: float = Field(default=30.0, gt=0, description="After how long without a byte it is given up.")
    request_seconds: float = Field(
        default=300.0, gt=0, description="After how long in all it is given up, however slowly bytes still come."
    )
    cache: str = Field(
        default="~/.cache/clearyear",
        description="Folder in which the tile indexes of remote scenes are kept for the next run; empty: nowhere.",
    )
    dask_address: str = Field(
        default="", description="Address of a Dask scheduler for the runner dask, such as tcp://10.0.0.5:8786."
    )
    dask_cluster: str = Field(
        default_factory=lambda: os.environ.get("DASK_CLUSTER", ""),
        description="Name of a cluster at the Dask Gateway that Dask is configured for; Calrissian sets DASK_CLUSTER.",
    )
    gs_anonymous: bool = Field(default=False, description="Read public gs:// buckets without credentials.")
    s3_anonymous: bool = Field(default=False, description="Read public s3:// buckets without credentials.")
    plugins: str = Field(
        default="",
        description="Modules, comma-separated, whose reducers and signers a job may name; each with all below it. "
        "Empty: none.",
    )
    decode_mb_per_s: float = Field(
        default=250.0,
        gt=0,
        description="Decoded MB per second and core that the dry run assumes; measure yours with a finished run.",
    )
    vcpu_second_usd: float = Field(
        default=0.000018, ge=0, description="Cloud Run jobs, tier 1 list price of a vCPU-second."
    )
    gib_second_usd: float = Field(
        default=0.000002, ge=0, description="Cloud Run jobs, tier 1 list price of a GiB-second."
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            wrong = [
                f"CLEARYEAR_{str(e['loc'][0]).upper()} = {e['input']!r}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors()
            ]
            raise InputError(
                f"In the environment: {'; '.join(wrong)}", "values of these kinds", "correct or unset them"
            ) from error


def current_settings() -> Settings:
    """The settings as the environment has them now; reading them afresh for each scene would be felt."""
    return _settings(tuple(item for item in os.environ.items() if item[0].upper().startswith("CLEARYEAR_")))


@lru_cache(maxsize=4)
def _settings(variables: tuple[tuple[str, str], ...]) -> Settings:  # noqa: ARG001  they are the key
    return Settings()
