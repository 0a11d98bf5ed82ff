"""The conversion of images that lists ask for: `*raw.csv` below a folder or bucket, looked for every 15 minutes."""

from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

import httpx
from prefect import flow, get_run_logger, unmapped
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from clearyear.convert.record import Converted, Image, Options
from clearyear.convert.run import Answer, Failure, Result, count, images_of, results_of
from clearyear.convert.watch import Taken, reopen, take_all
from clearyear.errors import ClearyearError, IncompleteError, InputError
from clearyear.settings import current_settings
from clearyear.stores import check_destination, open_store
from flows.steps import refuse_relative
from tasks.artifacts import Progress
from tasks.convert import convert_one, show_results


@flow(name="convert-watch", flow_run_name="convert-watch {inbox}", description=__doc__)
def convert_watch(
    inbox: str = "",
    out: str = "",
    jpeg: bool = True,
    compress: Literal["lzw", "deflate", "zstd"] = "lzw",
    workers: int | None = None,
) -> State[Any]:
    """Convert the images of every list that waits, and rename the lists so that they say what became of them.

    Args:
        inbox: The folder or bucket prefix whose lists (names ending in raw.csv) are looked for, at any depth.
        out: Where COGs, JPEGs and their records go.
        jpeg: Make a full-size JPEG of each image, too.
        compress: The COG's compression.
        workers: Images converted at once. Left out: one a core.

    Returns:
        Completed only if every image of every list is converted; else Failed with how many are not and why. A retry
        takes up again what this run has failed, and converts only what is not converted. Cancelled if nobody has
        said what to watch.
    """
    if not inbox or not out:
        unset = "inbox and out are not set: set CLEARYEAR_CONVERT_INBOX and CLEARYEAR_CONVERT_OUT and deploy again"
        return Cancelled(message=f"{unset}, or edit the deployment's parameters, or pause its schedule")
    refuse_relative(out)
    check_destination(out)
    store, run = open_store(inbox), str(flow_run.id)
    if flow_run.run_count > 1:
        reopen(store, run)
    options = Options(compress=compress, jpeg=jpeg)
    lists: dict[str, Sequence[Result]] = {}
    problems: dict[str, Failure] = {}
    written: list[str] = []
    for taken in take_all(store, run=run, is_over=is_over):
        uri = store.uri(taken.found)
        get_run_logger().info("Taken: %s", uri)
        try:
            results, texts = carry_out(taken, out, options, workers or current_settings().workers)
        except ClearyearError as error:  # another list need not suffer from it, and the next look finds this one
            results, texts = Failure.of(error), {}
        if isinstance(results, Failure):
            problems[uri] = results
        else:
            lists[uri] = results
        written += texts.values()
    open_store(out).sweep()
    if not lists and not problems:
        return Completed(message=f"No list waits in {inbox}", data={"expected": 0, "failed": []})
    show_results(lists, problems, written)
    return final_state(lists, problems)


def carry_out(taken: Taken, out: str, options: Options, workers: int) -> tuple[list[Result] | Failure, dict[str, str]]:
    """Convert one list's images and conclude it.

    Returns:
        What became of its rows, or why there are none; the lists written instead of it.
    """
    with taken.lease.held():
        try:
            sheet, rows = taken.rows()
        except InputError as error:
            return Failure.of(error), taken.reject(error)
        answers = map_images(images_of(rows), out, options, workers)
    results = results_of(rows, answers)
    return results, taken.conclude(sheet, results)


def map_images(images: Sequence[Image], out: str, options: Options, workers: int) -> dict[str, Answer]:
    """Map the task over images; what became of each, by its name."""
    if not images:
        return {}
    progress = Progress(len(images), what="images")
    answers: dict[str, Answer] = {}
    pool: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=workers)
    arguments = {"out": unmapped(out), "options": unmapped(options), "run": unmapped(str(flow_run.id))}
    with pool as runner:
        futures = runner.map(convert_one, {"image": list(images), **arguments})
        names = dict(zip(futures, images, strict=True))
        for future in as_completed(list(futures)):
            future.wait()  # it is done; without this its state is asked of the server, which learns of it later
            answers[names[future].name] = answer_of(future)
            progress.show(len(answers))
    progress.end(sum(isinstance(answer, Converted) for answer in answers.values()))
    return answers


def answer_of(future: PrefectFuture[Any]) -> Answer:
    """What a task made of its image, in our own words where an error is ours."""
    found = future.result(raise_on_failure=False)
    if isinstance(found, ClearyearError):
        return Failure.of(found)
    if isinstance(found, BaseException) or not future.state.is_completed():
        return Failure(cause=future.state.message or str(found), do="see the log of its task run")
    return Converted.model_validate(found)


def is_over(run: str) -> bool | None:
    """Whether another flow run has ended, as far as the server knows it."""
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(UUID(run)).state
    except (ValueError, ObjectNotFound, httpx.HTTPError):
        return None
    return state.is_final() if state else None


def final_state(lists: dict[str, Sequence[Result]], problems: dict[str, Failure]) -> State[Any]:
    """Completed only if every image of every list was converted."""
    results = [result for found in lists.values() for result in found]
    failed = [result for result in results if result.failure]
    outcome = {
        "expected": len(results),
        "failed": [{"source": r.called, "cause": r.failure.cause} for r in failed if r.failure],
        "lists": {uri: problem.cause for uri, problem in problems.items()},
    }
    if not failed and not problems:
        return Completed(message=f"{count(results, 'image')} of {count(lists, 'list')} converted", data=outcome)
    parts = []
    if failed:
        first = failed[0]
        cause = first.failure.cause if first.failure else ""
        parts.append(f"{len(failed)} of {len(results)} images are not converted ({first.called}: {cause})")
    parts += [f"{uri} is not converted ({problem.cause})" for uri, problem in problems.items()]
    sentence = "; ".join(parts)
    return Failed(message=sentence, data=IncompleteError(sentence, outcome=outcome))
