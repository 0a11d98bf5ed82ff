"""How often each pixel was observed, and how often it was clear."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from clearyear.masks import invalid_values_of
from clearyear.reducers.base import Inputs, LayerKind, Layers, Reducer, Stack, refuse

_BANDS = ("observations", "clear", "kept")


class ClearCount(Reducer):
    """Observations, clear ones, and clear ones that the mask's opening and dilation have kept, of each pixel.

    An observation is a scene whose pixel is nodata in no band; saturated values, where the job names some, are nodata
    too; where the scenes have no nodata value, every scene observes every pixel. Scenes of one group (``fuse``) are one
    observation. It is clear if the mask does not erase it. Layers: ``composite`` (3, H, W) uint16: ``observations``,
    ``clear`` before the mask's opening and dilation, ``kept`` after them, which is what other reducers use; ``count``
    (1, H, W) uint16, the last of these. Source: the product ``clear-count`` of odc-stats' quality bands.
    """

    name = "clear-count"
    version = 2
    layers = ("composite", "count")
    whole_samples = True
    wants_raw = True

    def check(self, *, n_bands: int, dtype: str, n_scenes: int) -> None:
        """See Reducer."""
        del n_bands, dtype
        if n_scenes > np.iinfo(np.uint16).max:
            raise refuse(self.name, f"{n_scenes} acquisitions", "at most 65,535: the counts are uint16")

    def kind(self, layer: str, inputs: Inputs) -> LayerKind:
        """See Reducer."""
        if layer != "composite":
            return super().kind(layer, inputs)
        title = "How often each pixel was observed, was clear, and was kept by the mask's opening and dilation"
        return LayerKind(n_bands=3, dtype="uint16", nodata=None, band_names=_BANDS, title=title)

    def scratch_bytes(self, *, n_scenes: int, n_bands: int, dtype: str, n_pixels: int) -> int:
        """See Reducer."""
        del n_scenes, dtype
        return (3 * n_bands + 5) * n_pixels

    def reduce(self, stack: Stack, *, wanted: Collection[str] | None = None) -> Layers:
        """See Reducer; without ``raw`` there was no opening and no dilation."""
        del wanted
        samples, valid = stack.samples, stack.valid
        values = invalid_values_of(stack.invalid_values, samples.dtype)
        counts = np.zeros((len(_BANDS), *samples.shape[2:]), np.uint16)
        before = valid if stack.raw is None else stack.raw
        for scenes in _observations(stack):
            observed = np.zeros(samples.shape[2:], np.bool_)
            for t in scenes:
                seen = np.ones(samples.shape[2:], np.bool_)
                for band in samples[t]:
                    seen &= band == band
                    for value in values:
                        seen &= band != value
                observed |= seen
                counts[1] += seen if before is None else seen & before[t].all(axis=0)
                counts[2] += seen if valid is None else seen & valid[t].all(axis=0)
            counts[0] += observed
        return {"composite": counts, "count": counts[2:]}


def _observations(stack: Stack) -> Iterable[Sequence[int]]:
    """The indices of the scenes of each observation."""
    if not stack.groups:
        return [[t] for t in range(len(stack.samples))]
    found: dict[object, list[int]] = {}
    for t, group in enumerate(stack.groups):
        found.setdefault(group or t, []).append(t)
    return found.values()
