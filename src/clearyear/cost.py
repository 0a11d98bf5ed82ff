"""What computing windows costs as Cloud Run jobs: planned seconds before a run, measured ones after it."""

from pydantic import BaseModel, ConfigDict

from clearyear.errors import InputError
from clearyear.plan import Plan
from clearyear.settings import Settings
from clearyear.sizing import JobSize, job_size


class Cost(BaseModel):
    """An estimate and what it rests on."""

    model_config = ConfigDict(frozen=True)

    vcpu_seconds: float
    gib_seconds: float
    usd: float
    assumptions: list[str]


def cloud_run_cost(plan: Plan, core_seconds: float) -> Cost | None:
    """What windows cost that take so many seconds in all, each on one core.

    cost = seconds of all jobs x (vCPU x price of a vCPU-second + GiB x price of a GiB-second), as in
    cloud.google.com/run/pricing. Prices are the settings' own.

    Returns:
        None where no Cloud Run job is large enough for one window.
    """
    size = _job(plan)
    if size is None:
        return None
    prices, seconds = Settings(), core_seconds / size.workers
    vcpu_seconds, gib_seconds = seconds * size.cpu, seconds * size.memory_gib
    return Cost(
        vcpu_seconds=round(vcpu_seconds, 3),
        gib_seconds=round(gib_seconds, 3),
        usd=round(vcpu_seconds * prices.vcpu_second_usd + gib_seconds * prices.gib_second_usd, 6),
        assumptions=[
            f"Cloud Run jobs of {size.cpu} vCPU and {size.memory_gib} GiB, windows at once: {size.workers}, at "
            f"{_price(prices.vcpu_second_usd)} USD a vCPU-second and {_price(prices.gib_second_usd)} USD a GiB-second",
            "windows only: no start-up, no mosaic, no run that waits, no requests, no network, no free tier",
        ],
    )


def _job(plan: Plan) -> JobSize | None:
    """The job that carries out the plan alone or, where its mosaic is too much for one, a shard of it."""
    for joins in (True, False):
        try:
            return job_size(plan, joins=joins)
        except InputError:
            continue
    return None


def _price(usd: float) -> str:
    return f"{usd:.9f}".rstrip("0").rstrip(".")
