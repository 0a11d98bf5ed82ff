"""Scenes × window → a stack and what of it is valid, where scenes are more than one file each on the plan's grid.

Bands in files of their own, files that lie elsewhere on the grid or on another, masks, harmonising, groups. Each file
is a job of its own that fills its bands and takes validity away: of it only False is ever written, so that jobs run in
any order, and at once.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearyear.coordinates import Fields
from clearyear.errors import ReadError
from clearyear.grid import Window
from clearyear.masks import invalid_values_of
from clearyear.plan import Plan
from clearyear.product import Product
from clearyear.reading.located import LocatedFile, Usable, read_bands, read_mask
from clearyear.reading.stack import FailedRead, read_stack, requests
from clearyear.reducers.base import Stack
from clearyear.scenes.scene import Scene
from clearyear.stores import is_remote


@dataclass(kw_only=True)
class Observed:
    """One window of every scene."""

    stack: NDArray[np.generic]
    """(T, B, H, W)."""
    valid: NDArray[np.bool_] | None = None
    """(T, 1 or B, H, W), True = may be used, on top of the values; None where they alone say it."""
    raw: NDArray[np.bool_] | None = None
    """The same before the masks' opening and dilation; None unless the reducer wants it and there are any."""
    groups: tuple[str, ...] = ()
    """Of each scene the observation it is a part of; see Stack."""
    failed: list[FailedRead] = field(default_factory=list)
    """Scenes that could not be read; with any the rest holds anything."""

    def strip(self, rows: slice, product: Product) -> Stack:
        """Some rows, as the product's reducer takes them."""
        valid, raw = (None if mask is None else mask[:, :, rows] for mask in (self.valid, self.raw))
        samples = self.stack[:, :, rows]
        return Stack(samples, product.invalid_values, product.nodata, valid=valid, raw=raw, groups=self.groups)


def observe(
    plan: Plan,
    scenes: Sequence[Scene],
    window: Window,
    *,
    buffer: NDArray[np.uint8] | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> Observed:
    """Read one window of every scene and work out what of it may be used.

    Args:
        plan: whose product says which files are bands and masks.
        scenes: of the plan, in its order.
        window: the rectangle of the plan's grid.
        buffer: memory to put the stack in, as ``read_stack`` takes it.
        pool: threads to read with.
    """
    product = plan.product
    if plan.is_plain:
        stack, _, failed = read_stack(
            scenes, plan.grid, window, n_bands=product.n_bands, dtype=product.dtype,
            bands=product.bands, file_bands=product.file_bands, buffer=buffer, pool=pool,
        )  # fmt: skip
        return Observed(stack=stack, failed=failed)
    shape = (len(scenes), product.n_bands, window.height, window.width)
    size = int(np.prod(shape)) * np.dtype(product.dtype).itemsize
    stack = (np.empty(size, np.uint8) if buffer is None else buffer[:size]).view(product.dtype).reshape(shape)
    usable = np.ones((plan.valid_masks, shape[0], plan.valid_bands, *shape[2:]), np.bool_)
    fields = Fields(plan.grid, window)
    jobs = [
        job for index, scene in enumerate(scenes) for job in _jobs(plan, scene, fields, stack[index], usable[:, index])
    ]
    failed = _run(jobs, pool)
    if not failed:
        for mask in usable:
            _fuse(plan, scenes, stack, mask)
    valid, raw = [*usable, None, None][:2]
    groups = tuple(scene.group for scene in scenes)
    return Observed(stack=stack, valid=valid, raw=raw, groups=groups, failed=failed)


def _fuse(plan: Plan, scenes: Sequence[Scene], stack: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    """Of the scenes of one group leave, at each pixel, the first valid one."""
    from clearyear.reading.samples import keep_first

    groups: dict[str, list[int]] = {}
    for index, scene in enumerate(scenes):
        if scene.group:
            groups.setdefault(scene.group, []).append(index)
    invalid = invalid_values_of(plan.product.invalid_values, stack.dtype)
    for members in groups.values():
        if len(members) > 1:
            keep_first(stack, valid, np.array(members), invalid, whole=plan.reducer.whole_samples)


Job = tuple[LocatedFile, partial[None]]


def _jobs(plan: Plan, scene: Scene, fields: Fields, out: NDArray[Any], usable: Usable) -> Iterator[Job]:
    assets = plan.product.assets
    for band, asset in enumerate(assets):
        file = LocatedFile(plan=plan, scene=scene, asset=asset, fields=fields)
        bands = slice(None) if len(assets) == 1 else slice(band, band + 1)
        yield file, partial(read_bands, file, out[bands], usable[:, bands] if usable.shape[1] > 1 else usable)
    for mask in plan.product.masks:
        file = LocatedFile(plan=plan, scene=scene, asset=mask.asset, fields=fields)
        yield file, partial(read_mask, file, mask, usable)


def _run(jobs: Sequence[Job], pool: ThreadPoolExecutor | None) -> list[FailedRead]:
    """Do all jobs, those that must be asked for elsewhere first; the first failure of each scene, in their order."""

    def attempt(job: Job) -> FailedRead | None:
        try:
            job[1]()
        except ReadError as error:
            return job[0].failed(error)
        return None

    there: dict[int, Future[FailedRead | None]] = {}
    try:
        there.update((i, requests().submit(attempt, job)) for i, job in enumerate(jobs) if is_remote(job[0].uri))
        here = [i for i in range(len(jobs)) if i not in there]
        outcomes = dict(zip(here, (pool.map if pool else map)(lambda i: attempt(jobs[i]), here), strict=True))
        outcomes |= {i: future.result() for i, future in there.items()}
    finally:
        # The stack's memory is used again: nobody may write to it once we have left.
        wait([future for future in there.values() if not future.cancel()])
    failed: dict[str, FailedRead] = {}
    for _, outcome in sorted(outcomes.items()):
        if outcome is not None:
            failed.setdefault(outcome.scene, outcome)
    return list(failed.values())
