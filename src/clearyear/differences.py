"""In which respects two plans of one destination differ, in words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clearyear.plan import Plan
from clearyear.scenes.scene import Scene
from clearyear.stores import is_remote, same_but_time

_NAMED = 3
"""Scenes named of a kind."""

_CALLED = {"n_bands": "bands", "invalid_values": "nodata and saturated values", "assets": "files of a scene"}
"""What a product's keys are called, where the key itself says too little."""


def differences(before: Plan, now: Plan) -> tuple[list[str], bool]:
    """What differs: a phrase each; and whether it is nothing but the times of scenes' files.

    Args:
        before: the plan that lies there.
        now: the plan that is to take its place.
    """
    found = []
    if before.tile_size != now.tile_size:
        found.append(f"windows of {before.tile_size} px there, {now.tile_size} px now")
    if before.period != now.period:
        found.append(f"the period {before.period.label} there, {now.period.label} now")
    found += _grid(before, now)
    there, here = dict(before.product), dict(now.product)
    changed = [k for k in here if repr(there[k]) != repr(here[k])]  # as text NaN is equal to itself
    found += [f"{_key(k)}: {_pair(k, there[k], here[k])}" for k in changed]
    scenes, only_times = _scenes(before.scenes, now.scenes)
    alone = only_times and not found
    return [*found, *scenes] or ["scenes that lie elsewhere, or are dated, placed or fused otherwise"], alone


def named(scenes: Iterable[str]) -> str:
    """The first few of several names: ``a, b, c and 27 more``."""
    first = sorted(scenes)
    more = f" and {len(first) - _NAMED} more" if len(first) > _NAMED else ""
    return f"{', '.join(first[:_NAMED])}{more}"


def _grid(before: Plan, now: Plan) -> list[str]:
    there, here = before.grid, now.grid
    if there.model_copy(update={"block": here.block}) == here:
        return []
    if (there.width, there.height) != (here.width, here.height):
        return [f"a grid of {there.width}×{there.height} px there, {here.width}×{here.height} px now"]
    if there.crs != here.crs:
        return ["a grid in another CRS there"]
    return ["a grid that lies elsewhere there"]


def _key(name: str) -> str:
    return _CALLED.get(name, name.replace("_", " "))


def _pair(key: str, there: Any, here: Any) -> str:
    """Two values of a product's key; of masks the names, and what else is different where those are the same."""
    if key == "masks":
        names = [mask.asset for mask in there], [mask.asset for mask in here]
        if names[0] == names[1]:
            return f"{_said(names[1])}, with other classes, bits or radii there"
        there, here = names
    return f"{_said(there)} there, {_said(here)} now"


def _said(value: Any, *, within: bool = False) -> str:
    """A value as a job has it: ``none``, ``0 and 255``, ``{bands: [red, nir]}``."""
    if value is None or value in ((), [], {}, ""):
        return "none"
    if isinstance(value, (list, tuple)):
        if within:
            return f"[{', '.join(_said(one, within=True) for one in value)}]"
        *first, last = (_said(one, within=True) for one in value)
        return f"{', '.join(first)} and {last}" if first else last
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k}: {_said(v, within=True)}' for k, v in value.items())}}}"
    if hasattr(value, "model_dump"):
        return _said(value.model_dump(mode="json"))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _scenes(before: Sequence[Scene], now: Sequence[Scene]) -> tuple[list[str], bool]:
    """Which scenes are new, gone or changed; and whether only times have. A file read beside them is no change."""
    there, here = {s.id: s for s in before}, {s.id: s for s in now}
    both = there.keys() & here.keys()
    times: list[str] = []
    changed: list[str] = []
    moved: list[str] = []
    for scene in sorted(both):
        files = [
            (old, new, uri)
            for asset, uri, old in there[scene].files()
            if asset in here[scene].assets and (new := here[scene].version_of(asset)) != old
        ]
        if files:
            timed = all(not is_remote(uri) and same_but_time(old, new) for old, new, uri in files)
            (times if timed else changed).append(scene)
        elif any(here[scene].identity.get(k, uri) != uri for k, uri in there[scene].identity.items()):
            moved.append(scene)
    kinds = {
        "new": sorted(here.keys() - there.keys()),
        "gone": sorted(there.keys() - here.keys()),
        "changed": changed,
        "changed in nothing but the files' time": times,
        "lying elsewhere": moved,
    }
    found = [f"{_count(ids)} {what} ({named(ids)})" for what, ids in kinds.items() if ids]
    return found, bool(times) and len(found) == 1


def _count(ids: Sequence[str]) -> str:
    return f"{len(ids)} scene{'' if len(ids) == 1 else 's'}"
