"""The observed colour of median luminance, for true-colour scenes."""

from collections.abc import Collection

import numpy as np

from clearyear.reducers.base import Layers, Reducer, Stack, kernel_bytes, refuse
from clearyear.reducers.layout import lay_out


class LuminanceMedian(Reducer):
    """Of the valid samples sorted by R + G + B the one at index n // 2: a colour some scene really saw.

    Among equal sums the earlier acquisition comes first. Source: T. Bonfort's course project be-big-data, whose
    rule this is; the tie rule is ours, so that the answer does not depend on a sort.
    Layers: ``composite`` (3, H, W) uint8, (0, 0, 0) where no sample is valid; ``count`` (1, H, W) uint16, valid
    samples; ``source`` (1, H, W) int16, the index in the plan's scenes of the one chosen, −1 for none.
    """

    name = "luminance-median"
    version = 1
    layers = ("composite", "count", "source")
    whole_samples = True
    default_nodata = (0.0,)
    default_saturated = (255.0,)

    def check(self, *, n_bands: int, dtype: str, n_scenes: int) -> None:
        """See Reducer."""
        if n_bands != 3 or dtype != "uint8":
            wanted = "three bands of uint8 (a true-colour image, TCI"
            more = "; --bands 1,2,3 or --alpha mask leaves one out)" if n_bands > 3 and dtype == "uint8" else ")"
            raise refuse(self.name, f"{n_bands} bands of {dtype}", wanted + more)
        if n_scenes > np.iinfo(np.int16).max:
            raise refuse(self.name, f"{n_scenes} acquisitions", "at most 32,767: the source layer is int16")

    def scratch_bytes(self, *, n_scenes: int, n_bands: int, dtype: str, n_pixels: int) -> int:
        """See Reducer."""
        del n_bands, n_pixels
        return kernel_bytes(n_scenes=n_scenes, dtype=dtype)

    def reduce(self, stack: Stack, *, wanted: Collection[str] | None = None) -> Layers:
        """See Reducer; ``nodata`` is 0 by definition."""
        del wanted
        from clearyear.reducers.luminance_kernel import luminance_kernel

        n_scenes, n_bands, height, width = stack.samples.shape
        composite = np.empty((n_bands, height * width), np.uint8)
        count = np.empty(height * width, np.uint16)
        source = np.empty(height * width, np.int16)
        luminance_kernel()(*lay_out(stack), n_scenes, composite, count, source)
        return {
            "composite": composite.reshape(n_bands, height, width),
            "count": count.reshape(1, height, width),
            "source": source.reshape(1, height, width),
        }
