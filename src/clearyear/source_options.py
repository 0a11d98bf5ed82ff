"""Flags that say where scenes come from: a STAC search, bands, masks, fusing; and how they become a job's keys."""

from collections.abc import Callable
from typing import Any

import click

from clearyear.errors import InputError

_STAC = ("collections", "bbox", "intersects", "query", "max_items", "sign", "save_items")
_MASK = ("preset", "classes", "bits", "opening", "dilation")


def source_options() -> list[Callable[..., Any]]:
    """The flags, in the order in which help shows them."""
    return [
        click.option("--stac", help="STAC API, catalog.json or saved search, instead of --scenes."),
        click.option("--collection", "collections", multiple=True, help="Of the STAC catalogue; may be repeated."),
        click.option("--bbox", help="West,south,east,north in degrees; the result is cropped to it."),
        click.option("--intersects", help="File with a GeoJSON area, instead of --bbox."),
        click.option("--datetime", help="STAC's way to say --period: 2023-08-01/2023-08-31, the last day included."),
        click.option("--query", multiple=True, help="Condition on items, 'eo:cloud_cover<40'; may be repeated."),
        click.option("--max-items", type=int, help="Take so many items at most.  [default: all]"),
        click.option("--sign", help="planetary-computer, or package.module:function (CLEARYEAR_PLUGINS)."),
        click.option("--save-items", help="Write the items found to this file, for --stac FILE."),
        click.option(
            "--bands",
            help="Bands, comma-separated: red,green,blue or B4,B3,B2; of files that hold several also 3,2,1.",
        ),
        click.option("--alpha", help="mask: an alpha band hides where it is 0.  [default: a band like others]"),
        click.option("--mask", "masks", multiple=True, help="Class or bit band: scl, qa_pixel, BQA, scl=FOLDER."),
        click.option("--mask-preset", help="sentinel-2-scl, landsat-qa-pixel or landsat-bqa.  [default: by its name]"),
        click.option("--mask-classes", help="Classes to erase, comma-separated.  [default: the preset's]"),
        click.option("--mask-bits", help="Bits to erase: cloud,cloud_shadow.  [default: the preset's]"),
        click.option("--mask-opening", type=int, help="Radius in px of specks to drop.  [default: the preset's]"),
        click.option("--mask-dilation", type=int, help="Radius in px the rest grows by.  [default: the preset's]"),
        click.option("--fuse", help="none, solar-day or newest-processing.  [default: none]"),
    ]


def source_keys(given: dict[str, Any]) -> dict[str, Any]:
    """A job's keys from what flags were given.

    Raises:
        InputError: flags that do not go together.
    """
    keys = {key: value for key, value in given.items() if value not in ((), None)}
    _put_search(keys)
    _put_masks(keys)
    if "datetime" in keys:
        if "period" in keys:
            raise InputError("--period and --datetime are both given", "one of them", "leave one out")
        from clearyear.scenes.stac_query import period_of_interval

        keys["period"] = period_of_interval(keys.pop("datetime"))
    return keys


def _put_search(keys: dict[str, Any]) -> None:
    search = {name: keys.pop(name) for name in _STAC if name in keys}
    if "stac" in keys:
        search["url"] = keys.pop("stac")
    if search:
        keys["stac"] = {k: list(v) if isinstance(v, tuple) else v for k, v in search.items()}


def _put_masks(keys: dict[str, Any]) -> None:
    details = {name: keys.pop(f"mask_{name}") for name in _MASK if f"mask_{name}" in keys}
    masks = list(keys.pop("masks", ()))
    if details and len(masks) != 1:
        raise InputError(
            f"--mask-{next(iter(details))} is given with {len(masks)} masks",
            "one --mask with it",
            "say in the job file what each mask erases" if masks else "say which band it is: --mask scl",
        )
    if details:
        from clearyear.mask_presets import named_mask

        masks = [named_mask(masks[0]) | details]
    if masks:
        keys["masks"] = masks
