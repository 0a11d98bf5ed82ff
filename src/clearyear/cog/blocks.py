"""One TIFF block: pixels, edge repeated where they do not fill it, predictor, compression; and back.

Horizontal differencing is TIFF 6.0 section 14; the floating point predictor is Adobe's TIFF technical note 3.
"""

from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

CODES = {"deflate": 8, "zstd": 50000, "lzw": 5}
"""TIFF's numbers of the compressions."""

_DEFLATE_LEVEL, _ZSTD_LEVEL = 6, 9  # GDAL's own defaults


def predictor_of(dtype: str) -> int:
    """TIFF's number of the predictor: 2 for whole numbers, 3 for floats."""
    return 3 if dtype.startswith("float") else 2


def encode_block(pixels: NDArray[np.generic], block: int, compress: str, level: int | None = None) -> bytes:
    """Compress one block.

    Args:
        pixels: (B, h, w); h and w at most ``block``.
        block: the block's side.
        compress: deflate, zstd or lzw.
        level: of deflate (1 to 9) or zstd (1 to 22); None: what GDAL takes.

    Returns:
        Its bytes; equal pixels give equal bytes.
    """
    _, height, width = pixels.shape
    if (height, width) != (block, block):
        # Nobody reads what lies beyond the image; repeated values compress to next to nothing.
        pixels = np.pad(pixels, ((0, 0), (0, block - height), (0, block - width)), mode="edge")
    samples: Any = np.stack(list(pixels), axis=-1)
    samples = _predict(imagecodecs.floatpred_encode, imagecodecs.delta_encode, samples)
    if compress == "deflate":
        return bytes(imagecodecs.deflate_encode(samples, level=level or _DEFLATE_LEVEL))
    if compress == "zstd":
        return bytes(imagecodecs.zstd_encode(samples, level=level or _ZSTD_LEVEL))
    return bytes(imagecodecs.lzw_encode(samples))


def decode_block(data: bytes, n_bands: int, dtype: str, block: int, compress: str) -> NDArray[np.generic]:
    """The pixels (B, block, block) of a block's bytes.

    Raises:
        ValueError: they do not decode to a whole block.
    """
    decode = {
        "deflate": imagecodecs.deflate_decode,
        "zstd": imagecodecs.zstd_decode,
        "lzw": imagecodecs.lzw_decode,
    }[compress]
    size = block * block * n_bands * np.dtype(dtype).itemsize
    try:
        flat = decode(data, out=size)
    except RuntimeError as error:  # what all of imagecodecs' errors are
        raise ValueError(f"a block does not decode ({error})") from error
    if len(flat) != size:
        raise ValueError(f"a block decodes to {len(flat)} bytes instead of {size}")
    samples: Any = np.frombuffer(flat, dtype).reshape(block, block, n_bands)
    samples = _predict(imagecodecs.floatpred_decode, imagecodecs.delta_decode, samples)
    pixels: NDArray[np.generic] = np.moveaxis(samples, -1, 0)
    return pixels


def _predict(floating: Any, whole: Any, samples: Any) -> Any:
    """Apply or undo the predictor along the rows, band by band."""
    return floating(samples, axis=-2) if samples.dtype.kind == "f" else whole(samples, axis=1)
