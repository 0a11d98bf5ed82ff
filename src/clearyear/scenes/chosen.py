"""Which bands of files that hold several: by what a file calls them, or by number; the same ones in all scenes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from clearyear.errors import InputError
from clearyear.scenes.headers import Header, some

_T = TypeVar("_T")


def chosen_bands(headers: Mapping[str, Header], wanted: Sequence[str], *, alpha: bool = False) -> tuple[int, ...]:
    """The bands' numbers from 1, in the order they are wanted in.

    Args:
        headers: of all files, which have one band count; by the name a message is to use.
        wanted: band names as the files have them (upper and lower case count alike where that is clear), or numbers; a
            name that is there is no number. None: all.
        alpha: whether the last band is a mask, and none to be taken.

    Returns:
        Nothing where these are all bands as they lie in the files.

    Raises:
        InputError: files lack a band, call two of theirs so, or have it in another place; or one is wanted twice.
    """
    everything = tuple(range(1, next(iter(headers.values())).count + 1))
    if not wanted:
        return everything[:-1] if alpha else ()
    numbers: dict[str, tuple[int, ...]] = {}
    odd: list[str] = []
    for name, header in headers.items():
        try:
            numbers[name] = tuple(_number(header, band) for band in wanted)
        except LookupError as error:
            odd.append(f"{name} {error.args[0]}")
    if odd:
        raise InputError(
            f"{len(odd)} of {len(headers)} scenes do not have every band: {some(odd)}",
            f"the bands {', '.join(wanted)} in each, by name or by number from 1",
            "correct --bands, or leave these scenes out with a pattern or a manifest; where each band is a file of its "
            "own, say --pattern with {band} where its name stands (LC08_*_{band}.TIF)",
        )
    usual = Counter(numbers.values()).most_common(1)[0][0]
    moved = [f"{name}: {', '.join(map(str, of))}" for name, of in numbers.items() if of != usual]
    if moved:
        raise InputError(
            f"In {len(moved)} of {len(headers)} scenes the bands {', '.join(wanted)} have other numbers than "
            f"{', '.join(map(str, usual))}: {some(moved)}",
            "one order of bands in all scenes",
            "leave these out with a pattern or a manifest",
        )
    if len(set(usual)) < len(usual):
        raise InputError(f"Of {', '.join(wanted)} two are one band", "each band once", "correct --bands")
    if alpha and everything[-1] in usual:
        raise InputError(f"Of {', '.join(wanted)} one is the alpha band, and alpha is mask", "other bands",
                         "correct --bands, or leave --alpha out")  # fmt: skip
    return () if usual == everything else usual


def refuse_no_alpha(headers: Mapping[str, Header]) -> None:
    """Refuse files whose alpha cannot be a mask.

    Raises:
        InputError: some have none, or a mask inside the file beside it; they are named.
    """
    odd = [name for name, of in headers.items() if not of.alpha or of.hides or of.dtype not in ("uint8", "uint16")]
    if odd:
        raise InputError(
            f"{len(odd)} of {len(headers)} files have no alpha that can be a mask: {some(odd)}",
            "a last band of 8 or 16 bits that the file calls alpha, and no mask inside the file beside it",
            "leave --alpha out",
        )


def refuse_other_order(headers: Mapping[str, Header]) -> None:
    """Refuse files that have the same bands by their names, but in another order: their first bands are not the same.

    Raises:
        InputError: there are some; they are named.
    """
    usual = Counter(header.band_names for header in headers.values()).most_common(1)[0][0]
    odd = [
        f"{name}: {', '.join(header.band_names)}"
        for name, header in headers.items()
        if header.band_names != usual and sorted(header.band_names) == sorted(usual)
    ]
    if odd:
        raise InputError(
            f"{len(odd)} of {len(headers)} files have the bands {', '.join(usual)} in another order: {some(odd)}",
            "one order of bands in all scenes; none is sorted silently",
            "leave these out with a pattern or a manifest, or write their bands in the others' order",
        )


def taken_of(values: Sequence[_T], bands: Sequence[int]) -> tuple[_T, ...]:
    """Of what a file says of each of its bands the part of those taken; of all where ``bands`` is empty."""
    return tuple(values[number - 1] for number in bands) if bands else tuple(values)


def _number(header: Header, band: str) -> int:
    """A band's number from 1; a LookupError that says why there is none."""
    for names, name in (
        (header.band_names, band),
        (tuple(n.casefold() for n in header.band_names), band.casefold()),
    ):
        if names.count(name) > 1:
            raise LookupError(f"has {names.count(name)} bands called {band}: choose by number")
        if name in names:
            return names.index(name) + 1
    if band.isdecimal() and 1 <= int(band) <= header.count:
        return int(band)
    named = ", ".join(name for name in header.band_names if name)
    n_bands = "1 band" if header.count == 1 else f"{header.count} bands"
    raise LookupError(f"has {n_bands} ({named or 'without names'}) and no {band}")
