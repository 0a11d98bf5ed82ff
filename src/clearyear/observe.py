"""Scenes × window → a stack and what of it is valid, where scenes are more than one file each on the plan's grid.

Bands in files of their own, files that lie elsewhere on the grid or on another, masks, harmonising, groups. Each file
is a job of its own that fills its bands and takes validity away, never gives it: jobs run in any order, at once.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearyear.coordinates import Fields, Points
from clearyear.errors import ReadError
from clearyear.grid import Window
from clearyear.masks import Mask, erased_by, grown, invalid_values_of
from clearyear.memory import MASK_BYTES, SOURCE_BYTES
from clearyear.plan import Plan
from clearyear.read import FailedRead, check_version, read_stack, requests
from clearyear.scenes.scene import UNKNOWN, Place, Scene
from clearyear.sources import Source, source_of
from clearyear.stores import is_remote, shown

Box = tuple[int, int, int, int]
"""Column, row, width, height in a file's own pixels."""


@dataclass(kw_only=True)
class Observed:
    """One window of every scene."""

    stack: NDArray[np.generic]
    """(T, B, H, W)."""
    valid: NDArray[np.bool_] | None = None
    """(T, 1 or B, H, W), True = may be used, on top of the values; None where they alone say it."""
    failed: list[FailedRead] = field(default_factory=list)
    """Scenes that could not be read; with any the rest holds anything."""


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
            scenes, plan.grid, window, n_bands=product.n_bands, dtype=product.dtype, buffer=buffer, pool=pool
        )
        return Observed(stack=stack, failed=failed)
    shape = (len(scenes), product.n_bands, window.height, window.width)
    size = int(np.prod(shape)) * np.dtype(product.dtype).itemsize
    stack = (np.empty(size, np.uint8) if buffer is None else buffer[:size]).view(product.dtype).reshape(shape)
    valid = np.ones((shape[0], plan.valid_bands, *shape[2:]), np.bool_) if plan.valid_bands else None
    fields = Fields(plan.grid, window)
    jobs = [job for index, scene in enumerate(scenes) for job in _jobs(plan, scene, fields, index, stack, valid)]
    failed = _run(jobs, pool)
    if valid is not None and not failed:
        _fuse(plan, scenes, stack, valid)
    return Observed(stack=stack, valid=valid, failed=failed)


def _fuse(plan: Plan, scenes: Sequence[Scene], stack: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    from clearyear.samples import keep_first

    groups: dict[str, list[int]] = {}
    for index, scene in enumerate(scenes):
        if scene.group:
            groups.setdefault(scene.group, []).append(index)
    invalid = invalid_values_of(plan.product.invalid_values, stack.dtype)
    for members in groups.values():
        if len(members) > 1:
            keep_first(stack, valid, np.array(members), invalid, whole=plan.reducer.whole_samples)


# -- one job a file ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _File:
    """One file of a scene, and how it lies on the window that is read."""

    plan: Plan
    scene: Scene
    asset: str
    fields: Fields

    @property
    def uri(self) -> str:
        return self.scene.assets[self.asset]

    @property
    def place(self) -> Place:
        """Its own, or the grid's."""
        grid = self.plan.grid
        own = Place(crs=grid.crs, transform=grid.transform, width=grid.width, height=grid.height, offset=(0, 0))
        return self.scene.places.get(self.asset, own)

    def source(self) -> Source:
        """Who reads it, if it is still what was planned."""
        version = self.scene.version_of(self.asset)
        if self.place == UNKNOWN:
            raise ReadError("could not be opened when the plan was made", uri=self.uri)
        check_version(self.uri, version)
        source = source_of(self.uri, version)
        width, height, n_bands, dtype = source.shape()
        if (width, height) != (self.place.width, self.place.height):
            raise ReadError(f"has become {width}×{height} px, {n_bands} bands of {dtype}", uri=shown(self.uri))
        return source

    def parts(self, halo: int, bytes_a_pixel: int) -> Iterator[tuple[tuple[slice, slice], Points, Box]]:
        """The window in parts that need no more of the file at once than is comfortable: pixels, centres, box."""
        from clearyear.resample import box_of

        points = self.fields.centres(self.place.crs)
        waiting = [(slice(0, self.fields.window.height), slice(0, self.fields.window.width))]
        while waiting:
            rows, cols = waiting.pop()
            of = points[0][rows, cols], points[1][rows, cols]
            box = box_of(self.place.transform, (self.place.width, self.place.height), of, halo)
            height, width = rows.stop - rows.start, cols.stop - cols.start
            if box[2] * box[3] * bytes_a_pixel <= SOURCE_BYTES or height * width == 1:
                yield (rows, cols), of, box
            elif height >= width:
                middle = rows.start + height // 2
                waiting += [(slice(rows.start, middle), cols), (slice(middle, rows.stop), cols)]
            else:
                middle = cols.start + width // 2
                waiting += [(rows, slice(cols.start, middle)), (rows, slice(middle, cols.stop))]

    def failed(self, error: ReadError) -> FailedRead:
        """What the window's record says of it."""
        band = "" if self.asset == "data" else f"{self.asset}: "
        return FailedRead(
            scene=self.scene.id, uri=shown(self.uri), cause=f"{band}{error.found}", transient=error.transient
        )


Job = tuple[_File, partial[None]]


def _jobs(
    plan: Plan, scene: Scene, fields: Fields, index: int, stack: NDArray[Any], valid: NDArray[np.bool_] | None
) -> Iterator[Job]:
    assets = plan.product.assets
    for band, asset in enumerate(assets):
        file = _File(plan=plan, scene=scene, asset=asset, fields=fields)
        bands = slice(None) if len(assets) == 1 else slice(band, band + 1)
        of = valid[index] if valid is not None else None
        mine = of[bands] if of is not None and len(of) > 1 else of
        yield file, partial(_read_bands, file, stack[index, bands], mine)
    for mask in plan.product.masks:
        file = _File(plan=plan, scene=scene, asset=mask.asset, fields=fields)
        if valid is not None:
            yield file, partial(_read_mask, file, mask, valid[index])


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


def _read_bands(file: _File, out: NDArray[Any], valid: NDArray[np.bool_] | None) -> None:
    """Fill ``out`` (b, H, W), and take validity where the file does not reach."""
    source, product = file.source(), file.plan.product
    n_bands, dtype = source.shape()[2:]
    if (n_bands, dtype) != (out.shape[0], str(out.dtype)):
        raise ReadError(f"has become {n_bands} bands of {dtype}", uri=shown(file.uri))
    invalid = invalid_values_of(product.invalid_values, out.dtype)
    if file.place.offset is not None:
        _read_shifted(source, file.fields.window, file.place, out, valid)
    else:
        _read_resampled(source, file, invalid, out, valid)
    names = product.band_names if product.assets == ("data",) else ()
    for n, plane in enumerate(out):
        name = names[n] if n < len(names) else file.asset
        add = file.scene.add.get(name, file.scene.add.get(file.asset, 0))
        if add:
            from clearyear.samples import harmonise

            harmonise(plane, add, invalid)


def _read_shifted(
    source: Source, window: Window, place: Place, out: NDArray[Any], valid: NDArray[np.bool_] | None
) -> None:
    """From a file whose pixels are the grid's."""
    left, top = (n - o for n, o in zip((window.col_off, window.row_off), place.offset or (0, 0), strict=True))
    x0, x1 = max(0, -left), min(window.width, place.width - left)
    y0, y1 = max(0, -top), min(window.height, place.height - top)
    if (x0, y0, x1, y1) != (0, 0, window.width, window.height):
        beside = np.ones((window.height, window.width), np.bool_)
        if x0 < x1 and y0 < y1:
            beside[y0:y1, x0:x1] = False
        out[:, beside] = 0
        _take(valid, beside)
    if x0 < x1 and y0 < y1:
        _read(source, (left + x0, top + y0, x1 - x0, y1 - y0), out[:, y0:y1, x0:x1])


def _read_resampled(
    source: Source, file: _File, invalid: NDArray[Any], out: NDArray[Any], valid: NDArray[np.bool_] | None
) -> None:
    """From a file on another grid."""
    from clearyear.resample import REACH, sample

    method, place = file.plan.product.resampling, file.place
    for pixels, points, box in file.parts(REACH[method], out.shape[0] * out.dtype.itemsize):
        held = np.empty((out.shape[0], box[3], box[2]), out.dtype)
        if held.size:
            _read(source, box, held)
        inside = np.empty(points[0].shape, np.bool_)
        sample(
            held, box[:2], place.transform, (place.width, place.height), points,
            method=method, invalid=invalid, out=out[:, *pixels], inside=inside,
        )  # fmt: skip
        _take(None if valid is None else valid[:, *pixels], ~inside)


def _read_mask(file: _File, mask: Mask, valid: NDArray[np.bool_]) -> None:
    """Take validity (1 or B, H, W) where the mask erases, or does not reach: nobody has seen that it is clear there.

    The mask is worked out on its own pixels, with so many round the window that its edge is as if all were read.
    """
    from clearyear.resample import sample

    source, place = file.source(), file.place
    n_bands, dtype = source.shape()[2:]
    if n_bands != 1 or np.dtype(dtype).kind not in "ui":
        raise ReadError(f"has become {n_bands} bands of {dtype}", uri=shown(file.uri))
    for pixels, points, box in file.parts(mask.halo, np.dtype(dtype).itemsize + MASK_BYTES):
        values = np.empty((1, box[3], box[2]), dtype)
        if values.size:
            _read(source, box, values)
        erased = grown(mask, erased_by(mask, values[0])).view(np.uint8)[None]
        inside, found = np.empty(points[0].shape, np.bool_), np.empty((1, *points[0].shape), np.uint8)
        sample(
            erased, box[:2], place.transform, (place.width, place.height), points,
            method="nearest", invalid=np.empty(0, np.uint8), out=found, inside=inside,
        )  # fmt: skip
        found[0][~inside] = 1
        _take(valid[:, *pixels], found[0].view(np.bool_))


def _read(source: Source, box: Box, out: NDArray[Any]) -> None:
    piece = Window(col_off=box[0], row_off=box[1], width=box[2], height=box[3])
    for step in source.steps(piece, out):
        step()


def _take(valid: NDArray[np.bool_] | None, where: NDArray[np.bool_]) -> None:
    """Make samples invalid; only False is ever written, so that two threads may do so at once."""
    if valid is not None:
        valid[:, where] = False
