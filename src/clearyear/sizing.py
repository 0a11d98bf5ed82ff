"""What a Cloud Run job must have to carry out a plan: computed from the plan before the run."""

import math

import numpy as np
from pydantic import BaseModel, ConfigDict

from clearyear.cog import assemble
from clearyear.cog.layers import frame_of, layer_of
from clearyear.errors import InputError
from clearyear.memory import peak_bytes
from clearyear.plan import Plan

_GIB = 1 << 30

MOST_GIB = {1: 4, 2: 8, 4: 16, 6: 24, 8: 32}
"""vCPU → most memory that Cloud Run gives with it (cloud.google.com/run/docs/configuring/services/cpu)."""

BESIDE_GIB = 1.0
"""Two Python processes, Prefect's supervisor and the flow with GDAL and numba, before a pixel is read."""

_WITH_OVERVIEWS = 4 / 3
"""1 + 1/4 + 1/16 + …: each overview has a quarter of the pixels of the one below."""


class JobSize(BaseModel):
    """vCPU and memory of one job, and how many windows it computes at once."""

    model_config = ConfigDict(frozen=True)

    cpu: int
    memory_gib: int
    workers: int

    def job_variables(self) -> dict[str, str]:
        """As the work pool takes it, on Cloud Run and on Kubernetes."""
        return {
            "cpu": str(self.cpu),
            "memory": f"{self.memory_gib}Gi",
            "env.CLEARYEAR_WORKERS": str(self.workers),
        }

    def doubled(self) -> "JobSize":
        """The same with twice the memory, or with the most there is: what came of too little must not come again."""
        gib = max(self.memory_gib, min(2 * self.memory_gib, max(MOST_GIB.values())))
        cpu = next(n for n, room in MOST_GIB.items() if n >= self.cpu and (room >= gib or n == max(MOST_GIB)))
        return JobSize(cpu=cpu, memory_gib=gib, workers=self.workers)


def job_size(plan: Plan, *, workers: int = 2, joins: bool = True, memory_limit: int | None = None) -> JobSize:
    """The smallest Cloud Run job that carries out ``plan``.

    Args:
        plan: what is to be done.
        workers: windows at once, a vCPU for each; fewer where even the largest job has no memory for so many.
        joins: whether the job makes the mosaic as well, or windows only.
        memory_limit: bytes that the windows keep to, by smaller pieces, where the user has set a limit.

    Raises:
        InputError: one window at a time, or the mosaic, is too much for the largest job.
    """
    largest = max(peak_bytes(plan, window) for window in plan.windows)
    scratch = scratch_bytes(plan) if joins else 0
    limit = math.inf if memory_limit is None else memory_limit / _GIB
    most = max(MOST_GIB.values())
    for at_once in range(min(workers, len(plan.windows), max(MOST_GIB)), 0, -1):
        # Windows come first and leave no file behind; then the mosaic.
        windows = min(at_once * largest / _GIB + BESIDE_GIB, limit)
        gib = math.ceil(max(windows, scratch / _GIB + BESIDE_GIB))
        if gib <= most:
            cpu = next(n for n, room in MOST_GIB.items() if n >= at_once and room >= gib)
            return JobSize(cpu=cpu, memory_gib=max(gib, _least_gib(cpu)), workers=at_once)
    raise InputError(
        f"One window takes {largest / _GIB:.1f} GiB and the mosaic's scratch files {scratch / _GIB:.1f} GiB",
        f"at most {most - BESIDE_GIB:g} GiB, which the largest Cloud Run job has free",
        "choose smaller windows (tile_size), or run where there is more memory and a disk",
    )


def scratch_bytes(plan: Plan) -> int:
    """Bytes that the mosaic's scratch files may take at most; on Cloud Run a file is memory.

    One file's image lies uncompressed beside the COGs of all, each with overviews. What cannot be compressed at all
    takes no more than it does raw.
    """
    pixels = plan.grid.width * plan.grid.height
    kinds = [plan.kind(file) for file in plan.published]
    layers = [pixels * kind.n_bands * np.dtype(kind.dtype).itemsize for kind in kinds]
    return math.ceil(max(layers) + sum(layers) * _WITH_OVERVIEWS + max(layers) * (_WITH_OVERVIEWS - 1))


def mosaic_bytes(plan: Plan) -> int:
    """Bytes that putting the tiles together takes at most, as if nothing could be compressed; one layer at a time."""
    frame = frame_of(plan.grid, plan.tile_size)
    peaks = [0]
    for layer in (layer_of(plan, file) for file in plan.files):
        if layer.joined:
            sample = layer.n_bands * np.dtype(layer.dtype).itemsize
            sizes = [(window, None, math.ceil(window.n_pixels * sample * 4 / 3)) for window in plan.windows]
            peaks.append(assemble.peak_bytes(sizes, layer, frame))
    return max(peaks)


def _least_gib(cpu: int) -> int:
    """Cloud Run gives many vCPU only with some memory (the same page)."""
    return {4: 2, 6: 4, 8: 4}.get(cpu, 1)
