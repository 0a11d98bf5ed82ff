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
