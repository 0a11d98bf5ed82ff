"""Many images, one failing alone; what became of all of them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from pydantic import BaseModel, ConfigDict

from clearyear.convert.image import convert_image
from clearyear.convert.record import Converted, Image, Options
from clearyear.convert.rows import Row
from clearyear.errors import ClearyearError
from clearyear.progress import report_progress
from clearyear.redact import redact
from clearyear.stores import open_store, shown


class Failure(BaseModel):
    """Why an image is not converted, and what to do about it."""

    model_config = ConfigDict(frozen=True)

    cause: str
    do: str = ""

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """An error in an operator's words; one that is not ours is a bug, and says so."""
        if isinstance(error, ClearyearError):
            return cls(cause=error.found.rstrip("."), do=error.do or error.wanted)
        return cls(cause=f"{type(error).__name__}: {error}", do="report it: this is clearyear's fault")


Answer = Converted | Failure


class Result(BaseModel):
    """What became of a row."""

    model_config = ConfigDict(frozen=True)

    row: Row
    converted: Converted | None = None
    failure: Failure | None = None

    @property
    def called(self) -> str:
        """The image as it may be shown to all who see a run: its address without a signature, or the row."""
        return shown(self.row.image.source) if self.row.image else redact(self.row.text.strip())


def images_of(rows: Sequence[Row]) -> list[Image]:
    """The images of these rows, each once."""
    return list({row.image.name: row.image for row in rows if row.image}.values())


def results_of(rows: Sequence[Row], answers: dict[str, Answer]) -> list[Result]:
    """Row by row what became of its image.

    Args:
        rows: the rows.
        answers: image name → what it was converted to, or why not.
    """
    found = []
    for row in rows:
        answer: Answer = answers[row.image.name] if row.image else Failure(cause=row.cause, do=row.do)
        if isinstance(answer, Converted):
            found.append(Result(row=row, converted=answer))
        else:
            found.append(Result(row=row, failure=answer))
    return found


def convert_all(rows: Sequence[Row], out: str, options: Options, *, workers: int) -> list[Result]:
    """Convert the images of all rows in threads of this process; what fails is named and stops nothing."""
    images = images_of(rows)
    answers: dict[str, Answer] = {}
    report_progress("images", 0, len(images))
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(_try, image, out, options): image for image in images}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                answers[futures[future].name] = future.result()
                report_progress("images", done, len(images))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    open_store(out).sweep()
    return results_of(rows, answers)


def outcome(results: Sequence[Result], out: str) -> dict[str, Any]:
    """What ``--json`` prints."""
    done = [r.converted for r in results if r.converted]
    failed = [
        {
            "source": r.called,
            "cause": r.failure.cause,
            "do": r.failure.do,
        }
        for r in results
        if r.failure
    ]
    store = open_store(out)
    return {
        "status": "complete" if not failed else "incomplete" if done else "failed",
        "out": store.root,
        "expected": len(results),
        "converted": sum(not c.kept for c in done),
        "kept": sum(c.kept for c in done),
        "failed": failed,
        "images": [
            {"source": c.record.source} | {kind: store.uri(file.name) for kind, file in c.record.files.items()}
            for c in done
        ],
    }


def _try(image: Image, out: str, options: Options) -> Answer:
    try:
        return convert_image(image, out, options)
    except Exception as error:  # noqa: BLE001  one bad image must not hide the rest, whatever is wrong with it
        return Failure.of(error)
