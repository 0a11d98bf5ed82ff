"""Scenes × window → a stack, and which reads failed and why. Nothing that fails becomes nodata."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from clearyear.errors import ReadError
from clearyear.grid import Grid, Window
from clearyear.reading.sources import Step, source_of
from clearyear.scenes.scene import Scene
from clearyear.scenes.signing import address_of
from clearyear.settings import current_settings
from clearyear.stores import is_remote, local_version, shown, split_uri

StepsOf = Callable[[Scene, NDArray[np.generic]], list[Step]]
"""What must be done to read one scene into its place in the stack."""


class FailedRead(BaseModel):
    """One scene that could not be read in one window."""

    model_config = ConfigDict(frozen=True)

    scene: str
    uri: str
    cause: str
    transient: bool = False


def read_stack(
    scenes: Sequence[Scene],
    grid: Grid,
    window: Window,
    *,
    n_bands: int,
    dtype: str,
    bands: Sequence[int] = (),
    file_bands: int = 0,
    buffer: NDArray[np.uint8] | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> tuple[NDArray[np.generic], list[int], list[FailedRead]]:
    """Read one window of every scene.

    Args:
        scenes: in acquisition order.
        grid: what every scene must still have.
        window: the rectangle to read.
        n_bands: bands of the stack; those every scene must have, unless ``bands`` says which of them.
        dtype: NumPy name of the pixels' type.
        bands: numbers from 1 of the bands that are taken of each scene; none: all.
        file_bands: how many every scene must have then.
        buffer: memory to put the stack in; used again for the next window, it spares the page faults.
        pool: threads to read with; None reads one scene after the other.

    Returns:
        The stack (T', B, H, W) of the scenes that could be read, their indices in ``scenes`` (T' of them, rising),
        and the failures.
    """
    shape = (len(scenes), n_bands, window.height, window.width)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size, np.uint8) if buffer is None else buffer[:size]
    stack = memory.view(dtype).reshape(shape)

    steps_of = partial(_steps, grid=grid, window=window, bands=bands, file_bands=file_bands or n_bands)

    def read_one(index: int) -> FailedRead | None:
        return _try_read(scenes[index], steps_of, stack[index])

    here = [index for index, scene in enumerate(scenes) if not is_remote(scene.uri)]
    there = sorted(set(range(len(scenes))) - set(here))
    # What lies elsewhere is asked for first: it comes while the local files are read.
    with _reading(there, scenes, steps_of, stack) as remote:
        outcomes = dict(zip(here, (pool.map if pool else map)(read_one, here), strict=True)) | remote()
    failed = [outcome for _, outcome in sorted(outcomes.items()) if outcome is not None]
    used = [index for index, outcome in sorted(outcomes.items()) if outcome is None]
    if failed:
        # The rows of what failed hold anything; the stack closes over them.
        for place, index in enumerate(used):
            stack[place] = stack[index]
    return stack[: len(used)], used, failed


def _try_read(scene: Scene, steps_of: StepsOf, out: NDArray[np.generic]) -> FailedRead | None:
    try:
        for step in steps_of(scene, out):
            step()
    except ReadError as error:
        return _failed(scene, error)
    return None


def _steps(
    scene: Scene, out: NDArray[np.generic], *, grid: Grid, window: Window, bands: Sequence[int], file_bands: int
) -> list[Step]:
    """What must be done to read one scene."""
    uri, version = address_of(scene, "data"), scene.version_of("data")
    check_version(uri, version)
    source = source_of(uri, version)
    found = source.shape()
    if found != (grid.width, grid.height, file_bands, str(out.dtype)):
        raise ReadError(f"has become {found[0]}×{found[1]} px, {found[2]} bands of {found[3]}", uri=shown(scene.uri))
    return source.steps(window, out, bands)


def _failed(scene: Scene, error: ReadError) -> FailedRead:
    return FailedRead(scene=scene.id, uri=shown(scene.uri), cause=error.found, transient=error.transient)


@contextmanager
def _reading(
    indices: Sequence[int], scenes: Sequence[Scene], steps_of: StepsOf, stack: NDArray[np.generic]
) -> Iterator[Callable[[], dict[int, FailedRead | None]]]:
    """Read these scenes with as many requests at once as the setting allows, over all windows of the process.

    Yields:
        A function that waits for them: index → None or why it failed. When it has returned, nobody writes to the
        stack any more.
    """
    if not indices:
        yield dict
        return
    pool = requests()
    begun: dict[int, Future[ReadError | None]] = {}
    rest: dict[int, list[Future[None]]] = {index: [] for index in indices}

    def begin(index: int) -> ReadError | None:
        """Read the header and one range; have others read the rest."""
        try:
            first, *more = steps_of(scenes[index], stack[index]) or [lambda: None]
            rest[index].extend(pool.submit(step) for step in more)
            first()
        except ReadError as error:
            return error
        return None

    def finish() -> dict[int, FailedRead | None]:
        outcomes: dict[int, FailedRead | None] = {}
        for index, future in begun.items():
            errors = [future.result(), *(_read_error(part) for part in rest[index])]
            found = next((each for each in errors if each is not None), None)
            outcomes[index] = None if found is None else _failed(scenes[index], found)
        return outcomes

    try:
        begun.update((index, pool.submit(begin, index)) for index in indices)
        yield finish
    except BaseException:  # a task's time-out, too: Prefect raises it in this thread, and it is no Exception
        # The stack's memory is used again: nobody may write to it once we have left.
        wait([future for future in begun.values() if not future.cancel()])
        wait([part for parts in rest.values() for part in parts if not part.cancel()])
        raise


def _read_error(part: Future[None]) -> ReadError | None:
    """Why a part failed, waiting for its end; any other error than ReadError is raised."""
    try:
        part.result()
    except ReadError as error:
        return error
    return None


def requests() -> ThreadPoolExecutor:
    """The process's threads for what lies elsewhere, as many as the setting allows."""
    return _requests(current_settings().requests)


@lru_cache(maxsize=1)
def _requests(most: int) -> ThreadPoolExecutor:
    """The threads that fetch and decode what lies elsewhere: one request each."""
    return ThreadPoolExecutor(most, thread_name_prefix="clearyear-request")


def check_version(uri: str, version: str) -> None:
    """Refuse a local file written since the plan was made: windows of one plan must not mix two versions of a scene.

    Elsewhere each answer tells the version of its bytes.

    Raises:
        ReadError: it is another version by now.
    """
    now = None if is_remote(uri) else local_version(split_uri(uri)[2])
    if now is not None and now != version:
        raise ReadError("has changed since the plan was made", uri=uri)
