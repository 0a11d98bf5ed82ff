"""One file of a scene read into one window, wherever it lies: on the grid, shifted, or on a grid of its own; masks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearyear.coordinates import Fields, Points
from clearyear.errors import ReadError
from clearyear.grid import Window
from clearyear.masks import Mask, erased_by, grown, invalid_values_of
from clearyear.memory import MASK_BYTES, SOURCE_BYTES
from clearyear.plan import Plan
from clearyear.reading.sources import Source, read_hidden, source_of
from clearyear.reading.stack import FailedRead, check_version
from clearyear.scenes.scene import UNKNOWN, Place, Scene
from clearyear.scenes.signing import address_of
from clearyear.stores import shown

Box = tuple[int, int, int, int]
"""Column, row, width, height in a file's own pixels."""

Usable = NDArray[np.bool_]
"""(M, 1 or B, H, W): one scene's ``valid`` and, where it is wanted, its ``raw``."""


@dataclass(frozen=True, kw_only=True)
class LocatedFile:
    """One file of a scene, and how it lies on the window that is read."""

    plan: Plan
    scene: Scene
    asset: str
    fields: Fields

    @property
    def uri(self) -> str:
        """Its address, without a signature."""
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
        address = address_of(self.scene, self.asset)
        check_version(address, version)
        source = source_of(address, version)
        width, height, n_bands, dtype = source.shape()
        if (width, height) != (self.place.width, self.place.height):
            raise ReadError(f"has become {width}×{height} px, {n_bands} bands of {dtype}", uri=shown(self.uri))
        return source

    def hidden(self, source: Source, box: Box) -> NDArray[np.bool_] | None:
        """What an internal mask or alpha hides of a box, (H, W); None where there is none."""
        if self.asset not in self.scene.hides:
            return None
        if self.plan.product.alpha:
            alpha = np.empty((1, box[3], box[2]), self.plan.product.dtype)
            _read(source, box, alpha, (self.plan.product.file_bands,))
            found: NDArray[np.bool_] = alpha[0] == 0
            return found
        address, version = address_of(self.scene, self.asset), self.scene.version_of(self.asset)
        return read_hidden(address, version, _window(box), source.shape()[:2])

    def parts(self, halo: int, bytes_a_pixel: int) -> Iterator[tuple[tuple[slice, slice], Points, Box]]:
        """The window in parts that need no more of the file at once than is comfortable: pixels, centres, box."""
        from clearyear.reading.resample import box_of

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


def read_bands(file: LocatedFile, out: NDArray[Any], usable: Usable) -> None:
    """Fill ``out`` (b, H, W), and take validity where the file does not reach."""
    source, product = file.source(), file.plan.product
    n_bands, dtype = source.shape()[2:]
    if (n_bands, dtype) != (product.file_bands or out.shape[0], str(out.dtype)):
        raise ReadError(f"has become {n_bands} bands of {dtype}", uri=shown(file.uri))
    invalid = invalid_values_of(product.invalid_values, out.dtype)
    if file.place.offset is not None:
        _read_shifted(source, file, invalid, out, usable)
    else:
        _read_resampled(source, file, invalid, out, usable)
    names = product.band_names if product.assets == ("data",) else ()
    for n, plane in enumerate(out):
        name = names[n] if n < len(names) else file.asset
        add = file.scene.add.get(name, file.scene.add.get(file.asset, 0))
        if add:
            from clearyear.reading.samples import harmonise

            harmonise(plane, add, invalid)


def _read_shifted(source: Source, file: LocatedFile, invalid: NDArray[Any], out: NDArray[Any], usable: Usable) -> None:
    """From a file whose pixels are the grid's."""
    window, place = file.fields.window, file.place
    left, top = (n - o for n, o in zip((window.col_off, window.row_off), place.offset or (0, 0), strict=True))
    x0, x1 = max(0, -left), min(window.width, place.width - left)
    y0, y1 = max(0, -top), min(window.height, place.height - top)
    if (x0, y0, x1, y1) != (0, 0, window.width, window.height):
        beside = np.ones((window.height, window.width), np.bool_)
        if x0 < x1 and y0 < y1:
            beside[y0:y1, x0:x1] = False
        np.copyto(out, _fill(invalid), where=beside)
        np.copyto(usable, False, where=beside)
    if x0 < x1 and y0 < y1:
        box = (left + x0, top + y0, x1 - x0, y1 - y0)
        _read(source, box, out[:, y0:y1, x0:x1], file.plan.product.bands)
        hidden = file.hidden(source, box)
        if hidden is not None:
            np.copyto(usable[:, :, y0:y1, x0:x1], False, where=hidden)


def _read_resampled(
    source: Source, file: LocatedFile, invalid: NDArray[Any], out: NDArray[Any], usable: Usable
) -> None:
    """From a file on another grid."""
    from clearyear.reading.resample import REACH, sample

    method, place = file.plan.product.resampling, file.place
    for pixels, points, box in file.parts(REACH[method], out.shape[0] * out.dtype.itemsize):
        held = np.empty((out.shape[0], box[3], box[2]), out.dtype)
        if held.size:
            _read(source, box, held, file.plan.product.bands)
            hidden = file.hidden(source, box)
            if hidden is not None:
                if held.dtype.kind == "f" or len(invalid):
                    # Out of the interpolation, too; where no value can say so, ``product_of`` allows none.
                    np.copyto(held, np.nan if held.dtype.kind == "f" else _fill(invalid), where=hidden)
                _take_where(hidden, box, place, points, usable[:, :, *pixels])
        inside = np.empty(points[0].shape, np.bool_)
        sample(
            held, box[:2], place.transform, (place.width, place.height), points,
            method=method, invalid=invalid, fill=_fill(invalid), out=out[:, *pixels], inside=inside,
        )  # fmt: skip
        np.copyto(usable[:, :, *pixels], False, where=~inside)


def _fill(invalid: NDArray[Any]) -> Any:
    """What stands where a file does not reach: an invalid value if there is one; the mask beside says it anyway."""
    return invalid[0] if len(invalid) else 0


def read_mask(file: LocatedFile, mask: Mask, usable: Usable) -> None:
    """Take validity where the mask erases, or does not reach: nobody has seen that it is clear there.

    The mask is worked out on its own pixels, with so many round the window that its edge is as if all were read.
    """
    source, place = file.source(), file.place
    n_bands, dtype = source.shape()[2:]
    if n_bands != 1 or np.dtype(dtype).kind not in "ui":
        raise ReadError(f"has become {n_bands} bands of {dtype}", uri=shown(file.uri))
    for pixels, points, box in file.parts(mask.halo, np.dtype(dtype).itemsize + MASK_BYTES):
        values = np.empty((1, box[3], box[2]), dtype)
        if values.size:
            _read(source, box, values)
        raw = erased_by(mask, values[0])
        # In the order of ``usable``.
        for erased, of in zip((grown(mask, raw), raw), usable, strict=False):
            _take_where(erased, box, place, points, of[:, *pixels])


def _take_where(erased: NDArray[np.bool_], box: Box, place: Place, points: Points, usable: Usable) -> None:
    """Take validity from the points whose pixel, of those of ``box``, is erased, or that the file does not reach."""
    from clearyear.reading.resample import sample

    inside, found = np.empty(points[0].shape, np.bool_), np.empty((1, *points[0].shape), np.uint8)
    sample(
        erased.view(np.uint8)[None], box[:2], place.transform, (place.width, place.height), points,
        method="nearest", invalid=np.empty(0, np.uint8), fill=1, out=found, inside=inside,
    )  # fmt: skip
    np.copyto(usable, False, where=found[0].view(np.bool_))


def _read(source: Source, box: Box, out: NDArray[Any], bands: Sequence[int] = ()) -> None:
    for step in source.steps(_window(box), out, bands):
        step()


def _window(box: Box) -> Window:
    return Window(col_off=box[0], row_off=box[1], width=box[2], height=box[3])
