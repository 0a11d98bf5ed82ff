"""A run and a repair under memory limits of their own: the same plan, the same bytes."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from clearyear import window
from clearyear.budget import process_budget
from clearyear.job import Job
from clearyear.memory import pieces
from clearyear.prepare import make_plan
from tasks import window_median

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_runs_and_repairs_go_on_under_another_limit(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.median_composite import median_composite
    from flows.repair import repair

    cut: list[int] = []

    def watched(plan: Any, rectangle: Any, store: Any, *, threads: int, window_bytes: int | None) -> Any:
        cut.append(len(pieces(plan, rectangle, window_bytes, threads=threads)))
        return window.compute_window(plan, rectangle, store, threads=threads, window_bytes=window_bytes)

    monkeypatch.setattr(window_median, "compute_window", watched)
    job = Job(scenes=str(scenes), period="2023", out=str(tmp_path / "out"), tile_size=32, workers=1)
    assert median_composite(job, return_state=True).is_completed()
    assert cut == [1, 1, 1, 1]
    plan = make_plan(job)
    tight = process_budget(plan, plan.windows, workers=1).peak_bytes - 8_000
    before = digests(tmp_path / "out")
    bound = job.model_copy(update={"memory_limit": tight})
    flows: list[Callable[[], State[Any]]] = [
        lambda: median_composite(bound, return_state=True),
        lambda: repair(job.out, workers=1, memory_limit=tight, return_state=True),
    ]
    for again in flows:
        (Path(plan.destination) / plan.tile_name(plan.windows[0])).unlink()
        cut.clear()
        state = again()
        assert state.is_completed(), state.message
        assert len(cut) == 1, "the other three windows stand"
        assert cut[0] > 1
        assert digests(tmp_path / "out") == before
    (Path(plan.destination) / plan.tile_name(plan.windows[0])).unlink()
    state = median_composite(job.model_copy(update={"memory_limit": 1_000_000}), return_state=True)
    assert state.is_failed()
    assert "1.0 MB of memory (memory_limit) cannot hold" in str(state.result(raise_on_failure=False))


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*.tif"))}
