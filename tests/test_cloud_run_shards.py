"""One composite over many Cloud Run jobs: what may befall a job, and what the composite makes of it."""

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cloud_harness import BUCKET, POOL, Cloud, assert_same, until
from loopback.cloud_run import Call

pytestmark = pytest.mark.e2e

JOB = {
    "scenes": f"gs://{BUCKET}/summer",
    "period": "2021-06--P2M",
    "layers": ["count", "source"],
    "tile_size": 32,
    "workers": 1,
}
SHARDS = {"work_pool": POOL, "windows_per_shard": 8}
"""16 windows, two shards."""
SETTINGS = {"CLEARYEAR_SHARD_POLL_SECONDS": "0.5", "CLEARYEAR_SHARD_TRIES": "2"}
FOLDER = "luminance-median/2021-06--P2M"
SIZE = {"cpu": "1", "memory": "2Gi"}
"""What `size.py --shards` says of JOB."""
HELD = "x00000_y00032"
"""The fifth window, in the middle of the first shard; the job that computes it hangs there."""
CREATED = r"POST .*/jobs$"


@pytest.fixture(scope="module")
def local(data: Path, cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A real summer's scenes, in the bucket, and what a run on this machine makes of them."""
    paths = sorted((data / "s2" / "pt29snd" / "tci").glob("*_20210[67]*.tif"))
    assert len(paths) > 5
    cloud.upload(paths, "summer")
    made = cloud.local(JOB, tmp_path_factory.mktemp("local"))
    assert len(made) > 48  # three layers of 16 windows, and the mosaics
    return made


@dataclass(frozen=True)
class Run:
    """A composite whose windows other jobs compute."""

    cloud: Cloud
    out: str
    id: str
    calls_before: int

    @property
    def folder(self) -> str:
        return f"{self.out}/{FOLDER}"

    def shards(self) -> list[dict[str, Any]]:
        """Its flow runs of window-batch, oldest first."""
        wanted = {"tags": {"all_": [f"clearyear-parent:{self.id}"]}}
        found = self.cloud.prefect.post("flow_runs/filter", {"flow_runs": wanted})
        return sorted(found, key=lambda run: str(run["created"]))

    def created(self) -> list[Call]:
        """Jobs that were asked for since it began."""
        return [c for c in self.cloud.run.calls[self.calls_before :] if re.search(CREATED, f"{c.method} {c.path}")]

    def lose_a_job(self) -> dict[str, Any]:
        """Lose the machine on which HELD is being computed; the shard that ran there."""
        until(self._hangs, f"it never comes to {HELD}: {self.cloud.told()}")
        [shard] = [run for run in self.shards() if HELD in run["parameters"]["window_ids"]]
        execution = self.cloud.running(shard["id"])
        assert execution is not None
        self.cloud.run.kill(execution.resource["name"])
        self.cloud.bucket.mend()
        return shard

    def written(self) -> dict[str, int]:
        """Files of the windows that are done → which write of them lies there."""
        done = self.cloud.windows(self.folder)
        there = self.cloud.generations(f"{self.folder}/tiles")
        return {name: write for name, write in there.items() if re.sub(r"(_count|_source)?\.\w+$", "", name) in done}

    def _hangs(self) -> bool:
        requests = list(self.cloud.bucket.requests)
        return any(re.search(hanging(self.out), f"{request.method} {request.path}") for request in requests)


def hanging(out: str) -> str:
    """What is asked just before the second layer of HELD is written, so that half of that window is there."""
    return rf"GET .*/{out}/{FOLDER}/tiles/[^/]*_{HELD}_count\.tif$"


def begin(cloud: Cloud, out: str) -> Run:
    cloud.bucket.fail(hanging(out), status=None, delay=3600, times=1000)
    job, before = {**JOB, **SHARDS, "out": f"gs://{BUCKET}/{out}"}, len(cloud.run.calls)
    variables = {f"env.{name}": value for name, value in SETTINGS.items()}
    run_id = cloud.prefect.submit("median-composite/on-demand-cloud-run", job_variables=variables, job=job)
    return Run(cloud, out, run_id, before)


def ids(written: dict[str, int]) -> set[str]:
    """Windows by their own names."""
    return {name.removesuffix(".json")[-len(HELD) :] for name in written if name.endswith(".json")}


def test_refused_and_lost_jobs_change_no_byte(cloud: Cloud, local: dict[str, bytes]) -> None:
    cloud.run.fail(CREATED, 429, skip=1)  # the first one is the composite's own
    cloud.run.fail(CREATED, 503)
    run = begin(cloud, "sharded")
    first = run.lose_a_job()
    before = run.written()
    state = cloud.prefect.wait_for(run.id)
    assert state["name"] == "Completed", state["message"] + cloud.told()
    assert Counter(call.status for call in run.created()) == {200: 4, 429: 1, 503: 1}

    shards = {shard["id"]: shard for shard in run.shards()}
    assert [s["state_name"] for s in shards.values() if s["id"] != first["id"]] == ["Completed", "Completed"]
    assert shards[first["id"]]["state_name"] == "Crashed"
    sent_first = set(first["parameters"]["window_ids"])
    done_first = sent_first & ids(before)
    assert 0 < len(done_first) < len(sent_first) == 8
    assert set(list(shards.values())[-1]["parameters"]["window_ids"]) == sent_first - done_first
    # Each job has the size that the plan asks for: one window at once here. The run that waits has its deployment's.
    made = [call.body["template"]["template"]["containers"][0] for call in run.created() if call.status == 200]
    # Windows whose job was lost get twice the memory: it may have been that.
    sizes = [{"cpu": "2", "memory": "8Gi"}, SIZE, SIZE, SIZE | {"memory": "4Gi"}]
    assert [job["resources"]["limits"] for job in made] == sizes
    for job in made[1:]:
        env = {variable["name"]: variable.get("value") for variable in job["env"]}
        assert env["CLEARYEAR_WORKERS"] == "1"
        assert env["PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK"] == "gcs-bucket/clearyear-results"
    assert {shard["parameters"]["memory_limit"] for shard in shards.values()} == {2 << 30}
    # Written once: what was there when the job was lost is there still.
    after = run.written()
    assert {name: after[name] for name in before} == before
    assert_same(cloud.pixels(run.folder), local)


def test_a_job_lost_for_good_fails_the_run_by_name_and_repair_completes_it(
    cloud: Cloud, local: dict[str, bytes]
) -> None:
    run = begin(cloud, "unlucky")
    until(lambda: [c.status for c in run.created()] == [200] * 3, f"its jobs are not made: {cloud.told()}")
    cloud.run.fail(CREATED, 403)
    lost = run.lose_a_job()
    state = cloud.prefect.wait_for(run.id)
    assert (state["type"], state["name"]) == ("FAILED", "Failed"), state["message"] + cloud.told()
    before = run.written()
    missing = sorted(set(lost["parameters"]["window_ids"]) - ids(before), key=lambda i: (i[7:], i))
    assert missing[0] == HELD
    assert len(ids(before)) + len(missing) == 16
    assert f"{len(missing)} of 16 windows are not done: {len(missing)} missing ({HELD}: its shard" in state["message"]
    assert "403" in state["message"]
    assert state["message"].endswith("try 2 of 2)")
    [report] = [json.loads(d) for n, d in cloud.objects(run.folder).items() if n.endswith("report.json")]
    assert report["missing"] == missing
    assert [shard["state_name"] for shard in run.shards()].count("Crashed") == 2
    # Somebody is told of the run, and of no single shard.
    until(lambda: [text for text in cloud.alerts.texts if run.id in text], "nobody is told")
    assert not [text for text in cloud.alerts.texts for shard in run.shards() if shard["id"] in text]

    mended = cloud.prefect.submit("repair/on-demand-cloud-run", out=f"gs://{BUCKET}/unlucky", work_pool=POOL)
    state = cloud.prefect.wait_for(mended)
    assert state["name"] == "Completed", state["message"] + cloud.told()
    [shard] = replace(run, id=mended).shards()
    assert shard["parameters"]["window_ids"] == missing
    after = run.written()
    assert {name: after[name] for name in before} == before
    assert_same(cloud.pixels(run.folder), local)


@pytest.mark.slow
@pytest.mark.parametrize("of", ["pool", "deployment"])
def test_no_more_jobs_run_at_once_than_are_allowed(cloud: Cloud, local: dict[str, bytes], of: str) -> None:
    """The pool's limit holds the composite too, so that two leave one place for shards; the deployment's has one."""
    set_limit(cloud, of, True)
    try:
        out = f"by-{of}"
        run = Run(cloud, out, cloud.ask({**JOB, **SHARDS, "windows_per_shard": 4, "out": f"gs://{BUCKET}/{out}"}), 0)
        state = cloud.prefect.wait_for(run.id)
    finally:
        set_limit(cloud, of, False)
    assert state["name"] == "Completed", state["message"] + cloud.told()
    times = sorted((shard["start_time"], shard["end_time"]) for shard in run.shards())
    assert len(times) == 4
    assert [(one, other) for one, other in pairwise(times) if other[0] < one[1]] == []


def set_limit(cloud: Cloud, of: str, limited: bool) -> None:
    if of == "pool":
        words = ("set-concurrency-limit", POOL, "2") if limited else ("clear-concurrency-limit", POOL)
        done = cloud.prefect.command("prefect", "work-pool", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    found = cloud.prefect.deployment("window-batch/cloud-run")["id"]
    body = {"concurrency_limit": 1 if limited else None}
    assert cloud.prefect.api.patch(f"deployments/{found}", json=body).is_success
