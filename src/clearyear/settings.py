"""Settings of the machine rather than of the job: ``CLEARYEAR_*`` in the environment."""

import os
from functools import lru_cache
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What a machine or a deployment sets once; every field is ``CLEARYEAR_<NAME>`` in the environment."""

    model_config = SettingsConfigDict(env_prefix="CLEARYEAR_", extra="ignore")

    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="Windows computed at once in one process."
    )
    reader: Literal["auto", "gdal"] = Field(
        default="auto", description="auto: scenes are read directly where that is understood; gdal: never."
    )
    requests: int = Field(
        default=24, ge=1, le=256, description="Requests for scenes' bytes in flight at once, over all windows."
    )
    retries: int = Field(default=6, ge=0, description="How often a request that may yet succeed is tried again.")
    retry_seconds: float = Field(default=0.2, gt=0, description="About how long the first wait before that is.")
    silence_seconds: float = Field(default=30.0, gt=0, description="After how long without a byte it is given up.")
    cache: str = Field(
        default="~/.cache/clearyear",
        description="Folder in which the tile indexes of remote scenes are kept for the next run; empty: nowhere.",
    )
    gs_anonymous: bool = Field(default=False, description="Read public gs:// buckets without credentials.")
    s3_anonymous: bool = Field(default=False, description="Read public s3:// buckets without credentials.")
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


def current_settings() -> Settings:
    """The settings as the environment has them now; reading them afresh for each scene would be felt."""
    return _settings(tuple(item for item in os.environ.items() if item[0].upper().startswith("CLEARYEAR_")))


@lru_cache(maxsize=4)
def _settings(variables: tuple[tuple[str, str], ...]) -> Settings:  # noqa: ARG001  they are the key
    return Settings()
