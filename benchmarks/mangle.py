"""Scenes damaged on purpose: in bytes anywhere, in the header's entries, in what blocks unpack to."""

import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOSTILE = (0, 1, 2, 3, 7, 15, 17, 255, 256, 65535, 65536, 2**20, 2**24 + 16, 2**31 - 1, 2**31, 2**32 - 16, 2**32 - 1)
HOSTILE_LONG = (*HOSTILE, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 16, 2**64 - 1)
NODATA = (b"nan", b"inf", b"-inf", b"1e999", b"", b"none", b"0x10", b"1_0", b"-0", b"9" * 400, b"\xff\xfe", b"0" * 4096)
COMPRESSIONS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34712, 34887, 34925, 50000, 50001, 50002, 65535)
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
BOMB_BYTES = 1 << 28


def make_seeds(folder: Path) -> list[Path]:
    """Sound GeoTIFFs of many kinds, small, so that a mutation hits something that matters."""
    import numpy as np
    import rasterio
    from affine import Affine
    from rasterio.shutil import copy

    rng = np.random.default_rng(5)
    kinds: dict[str, dict[str, Any]] = {
        "deflate": {"compress": "deflate", "predictor": 2, "interleave": "pixel"},
        "zstd": {"compress": "zstd", "dtype": "uint16", "count": 4, "predictor": 2},
        "plain": {},
        "lzw": {"compress": "lzw", "interleave": "pixel"},
        "jpeg": {"compress": "jpeg", "photometric": "ycbcr", "interleave": "pixel"},
        "webp": {"compress": "webp", "interleave": "pixel"},
        "lerc": {"compress": "lerc", "dtype": "float32", "count": 1},
        "packbits": {"compress": "packbits"},
        "strips": {"compress": "deflate", "tiled": False, "blockxsize": None, "blockysize": None},
        "float": {"compress": "deflate", "dtype": "float32", "predictor": 3, "nodata": float("nan")},
        "int16": {"compress": "zstd", "dtype": "int16", "count": 1, "nodata": -9999},
        "planes": {"compress": "deflate", "interleave": "band", "predictor": 2},
        "bigtiff": {"compress": "deflate", "bigtiff": "yes", "interleave": "pixel"},
        "bigendian": {"compress": "deflate", "endianness": "big"},
        "sparse": {"compress": "deflate", "sparse_ok": True},
        "bits": {"nbits": 4},
        "masked": {"compress": "deflate", "predictor": 2, "interleave": "pixel"},
        "masked-zstd": {"compress": "zstd", "dtype": "uint16"},
    }
    made = []
    for name, options in kinds.items():
        profile = {"driver": "GTiff", "width": 96, "height": 80, "count": 3, "dtype": "uint8", "nodata": 0,
                   "crs": "EPSG:32631", "transform": Affine(10, 0, 3e5, 0, -10, 49e5),
                   "tiled": True, "blockxsize": 32, "blockysize": 32, **options}  # fmt: skip
        path = folder / f"{name}.tif"
        shape = (profile["count"], 80, 96)
        with rasterio.open(path, "w", **{k: v for k, v in profile.items() if v is not None}) as dataset:
            pixels = rng.integers(0, 15, shape).astype(profile["dtype"])
            if name == "sparse":
                pixels[:, 32:] = 0
            dataset.write(pixels)
            dataset.update_tags(NOTE="x" * 50)
        if name.startswith("masked"):
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
                dataset.write_mask(pixels[0] > 4)
        made.append(path)
    copy(folder / "deflate.tif", folder / "cog.tif", driver="COG", blocksize=128, compress="deflate",
         overview_resampling="nearest")  # fmt: skip
    return [*made, folder / "cog.tif"]


class Directory:
    """Where the entries of one of a TIFF's directories stand, as far as they can be read: of the first, unless told."""

    def __init__(self, data: bytes, at: int | None = None) -> None:
        self.order = ">" if data[:2] == b"MM" else "<"
        self.big = data[2:4] in (b"\x2b\x00", b"\x00\x2b")
        counter, self.entry_size, self.word = ("Q", 20, "Q") if self.big else ("H", 12, "I")
        (first_at,) = struct.unpack_from(self.order + self.word, data, 8 if self.big else 4)
        self.at = first_at if at is None else at
        (n,) = struct.unpack_from(self.order + counter, data, self.at)
        first = self.at + struct.calcsize(counter)
        self.entries = [first + i * self.entry_size for i in range(min(n, 300))]
        self.next = first + n * self.entry_size

    @classmethod
    def any_of(cls, rng: random.Random, data: bytes) -> "Directory":
        """One of the first four: the image, a mask, overviews."""
        found = [cls(data)]
        while len(found) < 4:
            (at,) = struct.unpack_from(found[-1].order + found[-1].word, data, found[-1].next)
            if not 8 <= at < len(data) - 8:
                break
            found.append(cls(data, at))
        return rng.choice(found)

    def field(self, data: bytes, entry: int) -> tuple[int, int, int, int]:
        """Tag, type, count, and where the value stands."""
        tag, kind = struct.unpack_from(self.order + "HH", data, entry)
        (count,) = struct.unpack_from(self.order + self.word, data, entry + 4)
        inline = entry + 4 + struct.calcsize(self.word)
        if SIZES.get(kind, 1) * count <= struct.calcsize(self.word):
            return tag, kind, count, inline
        (offset,) = struct.unpack_from(self.order + self.word, data, inline)
        return tag, kind, count, offset


Mutation = Callable[[random.Random, bytearray], None]


def flip(rng: random.Random, data: bytearray) -> None:
    """A few bytes anywhere."""
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)


def flip_head(rng: random.Random, data: bytearray) -> None:
    """A few bytes of the header."""
    for _ in range(rng.randint(1, 6)):
        data[rng.randrange(min(len(data), 600))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def truncate(rng: random.Random, data: bytearray) -> None:
    """The end is missing."""
    del data[rng.randrange(len(data)) :]


def blank(rng: random.Random, data: bytearray) -> None:
    """A range of zeros or of noise."""
    start = rng.randrange(len(data))
    size = min(rng.randint(1, 2000), len(data) - start)
    data[start : start + size] = bytes(size) if rng.random() < 0.5 else rng.randbytes(size)


def shift(rng: random.Random, data: bytearray) -> None:
    """Bytes inserted or left out: everything after them stands elsewhere."""
    at, size = rng.randrange(len(data)), rng.randint(1, 64)
    if rng.random() < 0.5:
        data[at:at] = rng.randbytes(size)
    else:
        del data[at : at + size]


def _entry(rng: random.Random, data: bytearray, *wanted: int) -> tuple[Directory, int]:
    directory = Directory.any_of(rng, data)
    chosen = [e for e in directory.entries if not wanted or directory.field(data, e)[0] in wanted]
    return directory, rng.choice(chosen or directory.entries)


def value(rng: random.Random, data: bytearray) -> None:
    """A hostile number as one of a tag's values: sizes, blocks, bands, bits, offsets, byte counts."""
    directory, entry = _entry(rng, data)
    _, kind, count, at = directory.field(data, entry)
    size = SIZES.get(kind, 1)
    number = rng.choice(HOSTILE_LONG) % (1 << 8 * min(size, 8))
    if count and at + size * count <= len(data):
        place = at + size * rng.randrange(min(count, 500))
        data[place : place + size] = number.to_bytes(size, "little" if directory.order == "<" else "big")


def geometry(rng: random.Random, data: bytearray) -> None:
    """Huge or tiny images, blocks, band counts or depths."""
    for _ in range(rng.randint(1, 3)):
        directory, entry = _entry(rng, data, 256, 257, 258, 277, 278, 322, 323)
        _, kind, count, at = directory.field(data, entry)
        size = SIZES.get(kind, 1)
        for i in range(min(count, 8)):
            number = rng.choice(HOSTILE) % (1 << 8 * size)
            place = at + size * i
            data[place : place + size] = number.to_bytes(size, "little" if directory.order == "<" else "big")


def count(rng: random.Random, data: bytearray) -> None:
    """A tag that claims another number of values."""
    directory, entry = _entry(rng, data)
    limit = 2**64 if directory.big else 2**32
    struct.pack_into(directory.order + directory.word, data, entry + 4, rng.choice(HOSTILE_LONG) % limit)


def kind(rng: random.Random, data: bytearray) -> None:
    """A tag of another type."""
    directory, entry = _entry(rng, data)
    struct.pack_into(directory.order + "H", data, entry + 2, rng.choice((*SIZES, 0, 14, 255, 65535)))


def offset(rng: random.Random, data: bytearray) -> None:
    """Values that lie beyond the file, in the header or on themselves."""
    directory, entry = _entry(rng, data)
    limit = 2**64 if directory.big else 2**32
    target = rng.choice((len(data) - 1, len(data), len(data) + 10**6, entry, directory.at, *HOSTILE_LONG)) % limit
    struct.pack_into(directory.order + directory.word, data, entry + 4 + struct.calcsize(directory.word), target)


def loop(rng: random.Random, data: bytearray) -> None:
    """The chain of directories comes back to its start, or a sub-directory is the directory itself."""
    directory = Directory.any_of(rng, data)
    limit = 2**64 if directory.big else 2**32
    target = rng.choice((directory.at, directory.at, 0, 4, directory.entries[0], len(data) - 6, 2**32 - 2)) % limit
    if rng.random() < 0.7:
        struct.pack_into(directory.order + directory.word, data, directory.next, target)
    else:
        entry = rng.choice(directory.entries)  # becomes SubIFDs
        struct.pack_into(directory.order + "HH", data, entry, 330, 16 if directory.big else 13)
        struct.pack_into(directory.order + directory.word * 2, data, entry + 4, 1, target)


def compression(rng: random.Random, data: bytearray) -> None:
    """Blocks said to be packed otherwise than they are; or another predictor, layout or sample format."""
    directory, entry = _entry(rng, data, rng.choice((259, 259, 259, 317, 284, 339, 262)))
    _, _, _, at = directory.field(data, entry)
    struct.pack_into(directory.order + "H", data, at, rng.choice(COMPRESSIONS))


def nodata(rng: random.Random, data: bytearray) -> None:
    """A nodata tag that is no number, or a strange one."""
    directory, entry = _entry(rng, data, 42113)
    text = rng.choice(NODATA) + b"\0"
    struct.pack_into(directory.order + "HH", data, entry, 42113, 2)
    place = len(data)
    data += text.ljust(16, b"\0")
    size = max(len(text), 9)
    struct.pack_into(directory.order + directory.word * 2, data, entry + 4, size, place)


def _blocks(rng: random.Random, data: bytearray) -> tuple[Directory, list[tuple[int, int, int, int]]]:
    """Where each block's offset and size stand, and what they are."""
    directory = Directory.any_of(rng, data)
    tables = {}
    for entry in directory.entries:
        tag, kind_, n, at = directory.field(data, entry)
        if tag in (273, 324, 279, 325) and SIZES.get(kind_) in (2, 4, 8):
            tables[tag in (279, 325)] = (at, SIZES[kind_], n)
    (at0, size0, n0), (at1, size1, n1) = tables[False], tables[True]
    form = {2: "H", 4: "I", 8: "Q"}
    found = []
    for i in range(min(n0, n1, 400)):
        (start,) = struct.unpack_from(directory.order + form[size0], data, at0 + i * size0)
        (length,) = struct.unpack_from(directory.order + form[size1], data, at1 + i * size1)
        found.append((at0 + i * size0, at1 + i * size1, start, length))
    return directory, found


def swap(rng: random.Random, data: bytearray) -> None:
    """Two blocks change places, or one points to the other's bytes."""
    directory, blocks = _blocks(rng, data)
    (at_a, _, a, _), (at_b, _, b, _) = rng.choice(blocks), rng.choice(blocks)
    form = directory.order + directory.word
    struct.pack_into(form, data, at_a, b)
    if rng.random() < 0.5:
        struct.pack_into(form, data, at_b, a)


def inside(rng: random.Random, data: bytearray) -> None:
    """One byte inside a block's packed data."""
    _, blocks = _blocks(rng, data)
    _, _, start, length = rng.choice(blocks)
    if length:
        data[start + rng.randrange(length)] ^= 1 << rng.randrange(8)


_bombs: list[bytes] = []


def bomb(rng: random.Random, data: bytearray) -> None:
    """A block that unpacks to 256 MB of zeros: by DEFLATE or by ZSTD."""
    if not _bombs:
        import imagecodecs

        zeros = bytes(BOMB_BYTES)
        _bombs.extend((zlib.compress(zeros, 9), bytes(imagecodecs.zstd_encode(zeros, level=1))))
    directory, blocks = _blocks(rng, data)
    which = rng.randrange(2)
    place = len(data)
    data += _bombs[which]
    _, entry = _entry(rng, data, 259)
    struct.pack_into(directory.order + "H", data, directory.field(data, entry)[3], (8, 50000)[which])
    form = directory.order + directory.word
    for at, at_size, _, _ in blocks:
        struct.pack_into(form, data, at, place)
        struct.pack_into(form, data, at_size, len(_bombs[which]))


MUTATIONS: tuple[Mutation, ...] = (
    *(flip, flip_head, flip_head, truncate, blank, shift, value, value, value, geometry, geometry, count, count, kind),
    *(offset, offset, loop, compression, nodata, swap, inside, bomb),
)


def make_input(seeds: list[Path], seed: int, index: int) -> tuple[str, bytes]:
    """The input of that number: its story and its bytes."""
    rng = random.Random(seed * 1_000_003 + index)  # noqa: S311  the same inputs again are what is wanted
    source = rng.choice(seeds)
    data = bytearray(source.read_bytes())
    story = [source.stem]
    for mutation in rng.sample(MUTATIONS, rng.choice((1, 1, 1, 2, 3))):
        try:
            mutation(rng, data)
        except (struct.error, IndexError, KeyError, ValueError, OverflowError):
            continue  # what an earlier mutation left has no such place
        story.append(mutation.__name__)
        if len(data) < 8:
            break
    return "+".join(story), bytes(data)
