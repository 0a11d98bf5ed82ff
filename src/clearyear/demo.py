"""A small believable year of Sentinel-2 true-colour scenes, for the first picture and for the tests."""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

# Red, green, blue before the season, when green and when dry; days of green-up, drying and clearing; share of
# the snow that it holds (0 only for water). The crops come first; the last four know no season.
COVERS = (
    (106, 102, 70, 64, 98, 46, 186, 162, 108, 34, 172, 232, 0.95),  # winter wheat
    (112, 104, 72, 108, 118, 48, 156, 136, 94, 40, 160, 222, 0.95),  # rape
    (126, 112, 78, 52, 88, 42, 142, 120, 82, 146, 256, 300, 0.95),  # maize
    (144, 124, 90, 84, 104, 50, 112, 96, 70, 140, 226, 276, 0.95),  # sunflower
    (84, 97, 57, 72, 106, 52, 120, 120, 72, 66, 186, 250, 0.95),  # grass
    (122, 112, 80, 92, 100, 58, 118, 104, 66, 118, 284, 318, 0.8),  # vines
    (164, 142, 106, 126, 118, 78, 172, 150, 110, 96, 168, 260, 0.95),  # fallow
    (62, 60, 46, 32, 56, 32, 84, 70, 42, 104, 292, 322, 0.45),  # broadleaf wood
    (28, 46, 32, 26, 48, 32, 28, 46, 32, 100, 300, 330, 0.3),  # conifers
    (54, 68, 60, 38, 64, 62, 44, 66, 60, 110, 300, 330, 0),  # river
    (24, 44, 50, 20, 46, 54, 22, 44, 52, 110, 300, 330, 0),  # lake
    *((*c * 3, 1, 2, 3, 0.6) for c in ((184, 177, 163), (148, 142, 133), (156, 117, 96), (136, 130, 122))),
)
TABLE = np.array(COVERS, np.float32)
GRASS, BROADLEAF, CONIFER, RIVER, LAKE, GRAVEL, ROAD, ROOF, STREET = 4, *range(7, 15)
CROP_SHARE = (0.22, 0.06, 0.15, 0.1, 0.33, 0.1, 0.04)
FIELDS = 4096  # fields that differ from each other; with more on the land their numbers come round again
# Per pixel its label, brightness around 1 and height of about -2..3; then per label a row as in TABLE.
Land = tuple[I64, F32, F32, F32]


def _noise(rng: np.random.Generator, size: int, slope: float, wavelength: float) -> F32:
    """Periodic fractal noise, mean 0 and deviation 1; the spectrum is flat above ``wavelength`` pixels."""
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    spectrum *= np.maximum(frequency, 1 / wavelength).astype(np.float32) ** -slope
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(size, size))
    return np.asarray(field / field.std(), np.float32)


def _rise(x: F32, start: float, width: float) -> F32:
    """Smooth step from 0 at ``start`` to 1 at ``start + width``."""
    t = np.clip((x - start) / width, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _cells(rng: np.random.Generator, x: F32, y: F32, pitch: float) -> I64:
    """Number of the nearest seed (Voronoi cell) of each point; one jittered seed per ``pitch`` square."""
    column, row = (np.floor(a / pitch).astype(np.int64) for a in (x, y))
    u, v = x / pitch - column, y / pitch - row  # so that of the seeds only the jitter is looked up
    column, row = column - column.min(), row - row.min()
    wide = int(column.max()) + 3
    jitter = rng.uniform(0.08, 0.92, (2, (int(row.max()) + 3) * wide)).astype(np.float32)
    best, owner = np.full(x.shape, np.inf, np.float32), np.zeros(x.shape, np.int64)
    for down, right in np.ndindex(3, 3):
        seed = (row + down) * wide + column + right
        distance = np.hypot(jitter[0][seed] + (right - 1) - u, jitter[1][seed] + (down - 1) - v)
        closer = distance < best
        best[closer], owner[closer] = distance[closer], seed[closer]
    return owner


def _fields(rng: np.random.Generator, x: F32, y: F32) -> I64:
    """Field 0..FIELDS-1 of each point: blocks of land, each cut into parcels of its own direction."""
    block = _cells(rng, x, y, 84.0)
    blocks = int(block.max()) + 1
    angle = (rng.normal(0.35, 0.3, blocks) + rng.integers(0, 2, blocks) * np.pi / 2)[block]
    across, along = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    strip = np.floor(across / rng.uniform(13, 36, blocks)[block]).astype(np.int64)
    part = np.floor(along / rng.uniform(28, 80, blocks)[block] + strip * 0.37).astype(np.int64)
    return (block * 1009 + strip * 271 + part * 37) % FIELDS  # odd steps, so that neighbours differ


def _build_up(rng: np.random.Generator, labels: I64, x: F32, y: F32, row: int, sway: F32) -> F32:
    """Put a town, hamlets and roads into ``labels``; returns the brightness of the plots, around 1."""
    size, column = len(labels), len(labels) * 3 // 5
    nearness = np.hypot(x - column, y - row) / (0.062 * size)
    for place_x, place_y, radius in rng.uniform((0, 0, 0.008), (1, 1, 0.018), (7, 3)) * size:
        nearness = np.minimum(nearness, np.hypot(x - place_x, y - place_y) / radius)
    plots = _cells(rng, x, y, 4.0)
    plot = rng.random((2, int(plots.max()) + 1)).astype(np.float32)[:, plots]
    built = plot[0] > nearness * (1.4 + 0.35 * _noise(rng, size, 1.6, 60.0)) - 0.75
    built &= (labels != RIVER) & (labels != LAKE)
    labels[built] = np.array([ROOF, GRAVEL, GRASS, STREET])[np.searchsorted([0.6, 0.64, 0.9], plot[1][built])]
    # The river comes by at about -20 degrees; roads keep clear of that, so that bridges are short.
    for k, degrees in enumerate((40, 98, 118, 218, 262, 314)):
        angle = np.radians(degrees + rng.normal(0, 4))
        along = (x - column) * np.cos(angle) + (y - row) * np.sin(angle)
        across = (y - row) * np.cos(angle) - (x - column) * np.sin(angle) + sway - sway[row, column]
        labels[(along > 0) & (np.abs(across) < (1.1 if k % 3 == 0 else 0.7))] = ROAD
    return np.where(built, 0.76 + 0.36 * plot[0], 1).astype(np.float32)


def _build_land(seed: int, size: int) -> Land:
    """The landscape: fields first, then whatever lies over them."""
    rng = np.random.default_rng([seed, size])
    y, x = np.indices((size, size), dtype=np.float32)
    warp_x, warp_y = (_noise(rng, size, 2.6, 260.0) * 8 for _ in range(2))
    bend = _noise(rng, size, 3.0, min(size / 2.4, 260.0)) * min(size * 0.06, 46.0)
    level = y - size * 0.74 + x * 0.36 + bend  # 0 on the river
    # Distance to the water: the level over its slope, less half a width of the river.
    banks = np.abs(level) / np.maximum(np.hypot(*np.gradient(level)), 0.5) - 4.2 - _noise(rng, size, 2, 120)
    valley = _rise(np.abs(level), 0.0, 0.25 * size)
    height = np.asarray(_noise(rng, size, 2.5, 360.0) * (0.15 + 0.85 * valley) + valley, np.float32)
    fields = _fields(rng, x + warp_x, y + warp_y)
    labels = fields + len(TABLE)
    grain = _noise(rng, size, 0.5, 12.0)
    wood = _noise(rng, size, 1.7, 150.0) + 0.35 * height + 0.08 * grain
    hedge = (fields != np.roll(fields, 1, 0)) | (fields != np.roll(fields, 1, 1))
    hedge &= _noise(rng, size, 1.3, 60.0) > 0.35
    labels[(wood > 1.25) | hedge | ((banks < 5) & (_noise(rng, size, 1.5, 50.0) > -0.3))] = BROADLEAF
    labels[(wood > 1.45) & (warp_x > 3)] = CONIFER
    labels[(banks < 2.5) & (_noise(rng, size, 1.8, 70.0) > 1.5)] = GRAVEL
    labels[banks < 0] = RIVER
    shore = _noise(rng, size, 2.4, 90.0)
    from_lake = np.hypot(x * 0.8 + y * 0.5 - 0.327 * size, y * 1.05 - x * 0.35 - 0.2 * size)
    labels[(from_lake < (0.042 + 0.01 * shore) * size) | (shore > 3)] = LAKE
    bank = int(np.argmin(np.abs(level[:, size * 3 // 5])) - 0.035 * size)
    plots = _build_up(rng, labels, x, y, bank, warp_y * 2)
    rough = np.where(np.isin(labels, (RIVER, LAKE)), 0.012, np.where(labels >= len(TABLE), 0.035, 0.06))
    texture = plots * (1 + rough * (0.7 * grain + 0.8 * _noise(rng, size, 1.2, 90.0)))
    own = TABLE[rng.choice(len(CROP_SHARE), FIELDS, p=CROP_SHARE)]
    own[:, :9] *= 1 + rng.normal(0, 0.07, (FIELDS, 1)) + np.tile(rng.normal(0, 0.025, (FIELDS, 3)), 3)
    own[:, 9:12] += rng.normal(0, 11, (FIELDS, 1))
    return labels, texture.astype(np.float32), height, np.concatenate([TABLE, own])


def _ground(land: Land, day: int, elevation: float, azimuth: float, snowy: bool) -> F32:
    """Colour of the land on a day of the year under the sun, shape (size, size, 3)."""
    labels, texture, height, table = land
    up, down, cleared, holds = table[:, 9:].T
    green = (_rise(day - up, 0, 45) * (1 - _rise(day - down, 0, 28)))[:, None]
    dry = (_rise(day - down, 0, 28) * (1 - _rise(day - cleared, 0, 30)))[:, None]
    colour = table[:, :3] * (1 - green - dry) + table[:, 3:6] * green + table[:, 6:9] * dry
    image = colour[labels] * texture[..., None]
    if snowy:
        lies = (0.5 + 0.5 * _rise(height, -1.6, 1.6)) * holds[labels]
        image += lies[..., None] * (np.array([196, 202, 212], np.float32) - image)
    dry_land = holds[labels] > 0  # water holds no snow, and is flat
    south, east = (np.where(dry_land, slope, 0) for slope in np.gradient(height * 13))
    facing = (south * np.cos(azimuth) - east * np.sin(azimuth)) / max(np.tan(elevation), 0.6)
    image *= np.clip(1 + 0.6 * facing, 0.5, 1.3).astype(np.float32)[..., None]
    return np.asarray(image * (0.96 + 0.18 * np.sin(elevation)), np.float32)


def _add_clouds(rng: np.random.Generator, image: F32, share: float, elevation: float, azimuth: float) -> F32:
    """Lay clouds over a ``share`` of ``image``, and their shadows; returns their opacity."""
    size = len(image)
    small = share < 0.5 and elevation > 0.63  # fair-weather cumulus of the warm half-year; else a broad deck
    field = _noise(rng, size, 1.75 if small else 1.9, min(size / 2, 100.0 if small else 380.0))
    depth = field - np.quantile(field, 1 - share) - (share == 0)
    cover = _rise(depth, -0.2, 0.38)
    # Rolling is right because the noise is periodic: the cloud that throws it may be outside the picture.
    away = np.array((np.cos(azimuth), -np.sin(azimuth)))
    displaced = np.rint(away * (70.0 if small else 45.0) / np.tan(elevation)).astype(int)
    shadow = np.roll(_rise(depth, -0.2, 0.5), displaced, axis=(0, 1)) * (1 - cover)
    image *= 1 - shadow[..., None] * np.array([0.6, 0.57, 0.5], np.float32)
    image += cover[..., None] * ((222 + 100 * np.clip(depth, -0.3, 1.0))[..., None] - image)
    return cover


def _scene(land: Land, rng: np.random.Generator, day: int, share: float, cut: int, snowy: bool) -> F32:
    """One scene of shape (size, size, 3): 0 outside of the swath, else 1..255, 255 in thick clouds only."""
    # Elevation and azimuth (clockwise from north) of the mid-morning sun at 44 degrees north.
    summer = np.cos(2 * np.pi * (day - 172) / 365)
    elevation, azimuth = float(np.radians(42 + 22 * summer)), float(np.radians(153 - 10 * summer))
    image = _ground(land, day, elevation, azimuth, snowy) * np.float32(rng.normal(1, 0.022))
    size = len(image)
    cover = _add_clouds(rng, image, share, elevation, azimuth)
    haze = np.clip(rng.gamma(2.0, 2.5) * (1 + 0.25 * _noise(rng, size, 2.0, 400.0)), 0, 16)
    image += haze[..., None] * (np.array([0.75, 0.9, 1.15], np.float32) * (1 - image / 255))
    for axis in (0, 1):  # the optics blur a pixel into its neighbours
        beside = np.roll(image, 1, axis) + np.roll(image, -1, axis)
        image = image * np.float32(0.68) + beside * np.float32(0.16)
    image += rng.standard_normal(image.shape, dtype=np.float32) * np.float32(1.1)
    image = np.clip(np.rint(image), 1, np.where(cover > 0.6, 255, 254)[..., None])
    if cut:  # by the edge of the swath, which leans like the orbit; from the left if 1, the right if -1
        edge = np.arange(size) + (np.arange(size) - size / 2)[:, None] * np.tan(rng.uniform(0.19, 0.28))
        image[edge[::cut, ::cut] < rng.uniform(0.1, 0.42) * size] = 0
    return np.asarray(image, np.float32)


def _write(path: Path, scene: F32) -> None:
    """Write a scene as COG under a hidden name beside ``path``, then move it there in one step."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    size = len(scene)
    # Blocks of 128 are the smallest that the COG driver takes without a warning.
    layout = {"compress": "DEFLATE", "predictor": 2, "blocksize": 256 if size >= 256 else 128}
    bands = {"count": 3, "dtype": "uint8", "nodata": 0, "width": size, "height": size, "crs": "EPSG:32631"}
    grid = rasterio.Affine(10, 0, 300000, 0, -10, 4900020)
    try:
        with rasterio.open(part, "w", driver="COG", transform=grid, **bands, **layout) as target:
            target.write(np.moveaxis(scene.astype(np.uint8), 2, 0))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def make_scenes(folder: Path, *, count: int = 24, size: int = 1024, year: int = 2023, seed: int = 2023) -> list[Path]:
    """Write a year of Sentinel-2-like true-colour scenes of one invented landscape.

    The scenes depend on the arguments only. A file appears when it is whole. One that is already there is
    left as it is, whatever it holds, so that a second call changes nothing.

    Args:
        folder: Where to write; made if missing.
        count: Number of scenes, 1 to 365, on as many different days.
        size: Width and height in pixels of 10 m, at least 32.
        year: The year the scenes are dated in.
        seed: Another seed gives another landscape and other weather.

    Returns:
        The ``count`` paths in order of date, ``T31TCJ_<YYYYMMDD>T104441_TCI.tif``: Cloud Optimized GeoTIFFs
        of uint8 with shape (3, size, size) in EPSG:32631, red, green, blue. 0 is outside of the swath, 255
        the saturated core of a cloud; the land itself is always within 1..254.
    """
    if not 1 <= count <= 365 or size < 32:
        raise ValueError(f"count must be 1..365 and size at least 32, got {count} and {size}")
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, year, count])
    days = [int(rng.integers(k * 365 // count, (k + 1) * 365 // count)) + 1 for k in range(count)]
    # Ranked from clear to overcast, winter being cloudier; the best two are cloudless and whole.
    gloom = rng.random(count) + 0.25 * np.cos(2 * np.pi * (np.array(days) - 15) / 365)
    snowy = int(np.argmin([abs(day - 20) for day in days]))
    gloom[snowy] = np.sort(gloom)[min(3, count - 1)]
    ranks = np.argsort(np.argsort(gloom)).tolist()
    land: Land | None = None
    paths = []
    for k, (day, rank) in enumerate(zip(days, ranks, strict=True)):
        paths.append(folder / f"T31TCJ_{date(year, 1, 1) + timedelta(day - 1):%Y%m%d}T104441_TCI.tif")
        if not paths[-1].exists():
            land = land or _build_land(seed, size)
            share = 0.92 * max(0.0, (rank / max(count - 1, 1) - 0.2) / 0.8) ** 2.2
            cut = 0 if rank % 3 < 2 else 1 if rank % 2 else -1
            noise = np.random.default_rng([seed, year, count, k])
            _write(paths[-1], _scene(land, noise, day, share, cut, k == snowy))
    return paths
