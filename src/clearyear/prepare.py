"""From a job to a plan at its destination."""

import logging
from datetime import UTC, datetime
from functools import lru_cache

from clearyear.area import read_area
from clearyear.differences import differences
from clearyear.errors import ClearyearError, InputError
from clearyear.finding import find
from clearyear.geobox import Wish
from clearyear.job import Job
from clearyear.job_product import product_of
from clearyear.mask_presets import masks_of
from clearyear.naming import period_name
from clearyear.periods import Period, parse_period, year_before
from clearyear.places import lay_out
from clearyear.plan import Plan
from clearyear.runs import PLAN, find_run
from clearyear.scenes import changed_scenes
from clearyear.scenes.scene import Found
from clearyear.stores import Store, check_destination, open_store
from clearyear.views import windows_csv, windows_geojson

log = logging.getLogger(__name__)

_FIXED = (PLAN, "windows.csv", "windows.geojson", "tile_map.png", "missing.csv", "report.md", "report.json")
_ENDINGS = (".tif", ".json", ".jpg", ".sha256")
"""What a run's files are called, or end in after its product and period."""


def make_plan(job: Job, *, due: datetime | None = None) -> Plan:
    """Find the scenes and lay out the windows; writes nothing.

    Args:
        job: what is asked for.
        due: when the run was due; a job without a period means the calendar year before.

    Raises:
        InputError: no scenes, scenes that do not fit together, a reducer that cannot use them, a bad address.
    """
    check_destination(job.out)
    period = parse_period(job.period) if job.period else year_before(due or datetime.now(UTC))
    return plan_of(job, period, find(job, period))


def plan_of(job: Job, period: Period, found: Found) -> Plan:
    """The plan of scenes that are found already, whichever source they come from; writes nothing.

    Args:
        job: what is asked for.
        period: what the result is called after.
        found: the scenes.

    Raises:
        InputError: scenes that do not fit together, a grid that cannot be, a reducer that cannot use them.
    """
    area = read_area(job.region) if job.region is not None else None
    wish = Wish(crs=job.crs, resolution=job.resolution, area=area)
    masks = masks_of(job.masks)
    alpha = job.alpha == "mask"
    layout = lay_out(found, masks=masks, wish=wish, max_unreadable=job.max_failed_reads, alpha=alpha)
    scenes, grid, header = layout.scenes, layout.grid, layout.header
    found = found.model_copy(update={"scenes": scenes})
    product = product_of(job, header, found, masks, bands=layout.bands, file_bands=layout.file_bands)
    grid.check_count(job.tile_size, scenes[0].id)
    name = period_name(job.naming, product=product.name, period=period) if job.naming else ""
    return Plan(
        product=product,
        period=period,
        scenes=scenes,
        grid=grid,
        tile_size=job.tile_size,
        max_failed_reads=job.max_failed_reads,
        min_completeness=0.0 if job.allow_missing else job.min_completeness,
        name=name,
        destination=f"{job.out.rstrip('/')}/{product.name}/{name or period.label}",
    )


def prepare(job: Job, *, due: datetime | None = None) -> Plan:
    """Make the plan and write it to its destination.

    Raises:
        InputError: as make_plan; or the destination cannot be written, or holds another plan's run and the job
            does not say ``overwrite``.
    """
    return put_down(make_plan(job, due=due), overwrite=job.overwrite)


def put_down(plan: Plan, *, overwrite: bool = False) -> Plan:
    """Write a plan to its destination, so that windows can be computed there; returned as it came.

    Raises:
        InputError: the destination cannot be written, or holds another plan's run and ``overwrite`` is not set.
    """
    store = open_store(plan.destination)
    if _other_plan(plan, store, overwrite=overwrite):
        _withdraw(plan, store)
    store.sweep()
    store.write(PLAN, plan.to_json().encode())
    store.write("windows.csv", windows_csv(plan).encode())
    store.write("windows.geojson", windows_geojson(plan).encode())
    return plan


def find_plan(out: str, *, allow_missing: bool = False) -> Plan:
    """The plan lying at ``out``: what a run's ``--out`` was, a product's folder in it, or a period's.

    Args:
        out: where to look.
        allow_missing: take the plan as one that asks for no completeness.

    Raises:
        InputError: there is none, or there are several.
    """
    plan = plan_at(find_run(out))
    return plan.model_copy(update={"min_completeness": 0.0}) if allow_missing else plan


def plan_at(destination: str) -> Plan:
    """The plan of exactly this folder.

    Raises:
        InputError: its plan.json cannot be used.
    """
    store = open_store(destination)
    try:
        return Plan.from_json(store.read(PLAN), destination=store.root)
    except ValueError as error:
        raise InputError(
            f"{store.uri(PLAN)} is no plan this version can use ({str(error).splitlines()[0]})",
            "the plan.json of a run",
            "run the job again with --overwrite",
            uri=store.uri(PLAN),
        ) from error


def known_plan(destination: str, digest: str) -> Plan:
    """``plan_at``, if it is the plan the caller speaks of and not, by now, another: an InputError then."""
    entry = open_store(destination).stat(PLAN)
    return _known_plan(destination, digest, entry.version if entry else "")


@lru_cache(maxsize=8)
def _known_plan(destination: str, digest: str, version: str) -> Plan:  # noqa: ARG001  the version is part of the key
    plan = plan_at(destination)
    if plan.digest != digest:
        raise InputError(
            f"The plan at {destination} is no longer the one this run began with",
            "one run at a time, or one plan for both",
            "let the other run finish, then start again",
            uri=destination,
        )
    return plan


def check_scenes(plan: Plan) -> None:
    """Make sure that every scene is still the file the plan speaks of.

    Raises:
        InputError: some are gone or have changed; they are named.
    """
    changed = changed_scenes(plan.scenes)
    if len(changed) > plan.max_failed_reads:
        raise InputError(
            f"{len(changed)} of {len(plan.scenes)} scenes {'is' if len(changed) == 1 else 'are'} not what was planned: "
            f"{'; '.join(changed[:5])}",
            "the scenes as they were",
            "run the job again with --overwrite (overwrite: true) to plan anew from what is there now",
        )


def _other_plan(plan: Plan, store: Store, *, overwrite: bool) -> bool:
    """Whether another plan lies at the destination; refused unless the job says so."""
    if store.stat(PLAN) is None:
        return False
    try:
        before = plan_at(plan.destination)
        if before.id == plan.id:
            return False
        found, only_times = differences(before, plan)
    except ClearyearError as error:
        if error.transient:
            raise
        found, only_times = [error.found], False
    if not overwrite:
        do = "choose another --out or --product, or pass --overwrite (overwrite: true) to replace it (windows that "
        do += "still agree are kept)"
        if only_times:
            do += "; or copy the same files with their times: rsync -t, cp -p"
        raise InputError(
            f"{store.root} already holds the run of another plan: {'; '.join(found)}",
            "the same plan, or an empty place",
            do,
            uri=store.root,
        )
    return True


def _withdraw(plan: Plan, store: Store) -> None:
    """Another plan takes the place: what was published goes, the item first; so do tiles it has no window for.

    Only what has a name that runs give: whatever else lies there is the user's. The old plan goes last, since without
    it nobody would look for the rest.
    """
    ours = {plan.record_name(w) for w in plan.windows}
    ours |= {plan.tile_name(w, file) for w in plan.windows for file in plan.files}
    try:
        stems: tuple[str, ...] = (plan.stem, plan_at(plan.destination).stem)
    except ClearyearError:
        stems = (plan.stem,)
    names = [entry.name for entry in store.entries() if entry.name not in ours and _is_of_a_run(entry.name, stems)]
    for name in sorted(names, key=lambda n: (not n.endswith(".stac-item.json"), n == PLAN)):
        store.remove(name)


def _is_of_a_run(name: str, stems: tuple[str, ...]) -> bool:
    folder, _, last = name.rpartition("/")
    named = last.startswith(tuple(stem + after for stem in stems for after in "_.")) and last.endswith(_ENDINGS)
    return (folder in ("", "tiles") and named) or name in _FIXED
