"""The server's answer to a run's last state is lost: Prefect asks again, and gets a copy that holds no result."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from clearyear.errors import InputError
from clearyear.job import Job

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.usefixtures("lost")]


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The first answer to each last state of a flow run breaks off; what was asked is kept."""
    real: Callable[..., httpx.Response] = httpx.Client.send
    asked: list[bytes] = []

    def send(self: httpx.Client, request: httpx.Request, *args: Any, **more: Any) -> httpx.Response:
        response = real(self, request, *args, **more)
        is_last = any(kind in request.content for kind in (b'"COMPLETED"', b'"FAILED"'))
        if is_last and request.url.path.endswith("set_state") and request.content not in asked:
            asked.append(request.content)
            raise httpx.ReadError("the connection broke off")
        return response

    monkeypatch.setattr(httpx.Client, "send", send)
    return asked


@pytest.fixture
def job(scenes: Path, tmp_path: Path) -> Job:
    return Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=16)


def test_a_complete_run(job: Job, lost: list[bytes]) -> None:
    from flows.median_composite import median_composite
    from flows.outcome import outcome_of

    outcome = outcome_of(median_composite, {"job": job})
    assert lost
    assert (outcome["status"], outcome["ok"]) == ("complete", 12)


@pytest.mark.usefixtures("poisoned")
def test_an_incomplete_run(job: Job, lost: list[bytes]) -> None:
    from flows.median_composite import median_composite
    from flows.outcome import outcome_of

    outcome = outcome_of(median_composite, {"job": job})
    assert lost
    assert (outcome["status"], outcome["missing"]) == ("incomplete", ["x00016_y00016"])


def test_a_refused_job(job: Job, lost: list[bytes]) -> None:
    from flows.median_composite import median_composite
    from flows.outcome import outcome_of

    outcome = outcome_of(median_composite, {"job": job.model_copy(update={"period": "2019"})})
    assert lost
    assert isinstance(outcome, InputError)
    assert "2019" in outcome.found


def test_a_period_of_a_backfill(job: Job, lost: list[bytes]) -> None:
    from flows.backfill import backfill
    from flows.outcome import outcome_of

    outcome = outcome_of(backfill, {"job": job, "span": "2023", "frequency": "annual"})
    assert len(lost) > 1
    assert (outcome["status"], [p["period"] for p in outcome["periods"]]) == ("complete", ["2023--P1Y"])
