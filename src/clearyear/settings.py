"""Settings of the machine rather than of the job: ``CLEARYEAR_*`` in the environment."""

import os
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
        default="auto", description="auto: local scenes are read directly where that is understood; gdal: never."
    )
    gs_anonymous: bool = Field(default=False, description="Read public buckets without credentials.")
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
