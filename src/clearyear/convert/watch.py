"""CSVs below a folder or prefix whose names say what becomes of them.

    X-raw.csv → X-processing-<stamp>.csv → X-processed-<stamp>.csv
                                           and/or X-failed-<stamp>.csv with X-failed-<stamp>-causes.csv

Whoever works on one holds its ticket, ``X-convert-ticket.json`` beside it. The order of what is written, of which any
step may be a killed process's last:

1. the ticket, on the condition that there is none: of two watchers one gets it. It has the CSV's version and the stamp.
2. ``processing``, then ``raw`` is removed, on the condition that it is of that version.
3. The images. Each has a record of its own, so that what is done is not done again.
4. ``failed`` with its causes, ``processed``.
5. ``processing`` is removed, then the ticket.

A ticket whose run has ended, or that was not renewed for a while, is taken over, on the condition that it is still
the one that was looked at; the work goes on under the same stamp. Names differ by folder, so equal base names do not
collide.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from clearyear.convert.rows import Row, Sheet, read_sheet, rows_of
from clearyear.convert.run import Failure, Result
from clearyear.convert.tickets import IsOver, Lease, Ticket, take_ticket
from clearyear.errors import ClearyearError
from clearyear.report_text import csv_cell
from clearyear.stores import Store

_RAW = re.compile(r"(?P<base>(?:.*/)?[^/]*)raw\.csv")
_PROCESSING = re.compile(r"(?P<base>(?:.*/)?[^/]*)processing-(?P<stamp>\d{8}-\d{6})\.csv")
_CAUSES = re.compile(r"(?P<base>(?:.*/)?[^/]*)failed-(?P<stamp>\d{8}-\d{6})-causes\.csv")
_TICKET = "convert-ticket.json"
_STAMP = "%Y%m%d-%H%M%S"
_TRIES = 3


class Taken:
    """A CSV that is ours: ``lease`` says for how long."""

    def __init__(self, store: Store, base: str, lease: Lease) -> None:
        self.store, self.base, self.lease = store, base, lease

    @property
    def name(self) -> str:
        """What it is called while it is worked on."""
        return self._called("processing")

    def rows(self) -> tuple[Sheet, list[Row]]:
        """What it asks for.

        Raises:
            InputError: it is malformed as a whole; see ``reject``.
        """
        sheet = read_sheet(self.store.read(self.name))
        return sheet, rows_of(sheet, self.store.uri(self.name), self.store.root)

    def conclude(self, sheet: Sheet, results: Sequence[Result]) -> dict[str, str]:
        """Write what became of it; returns the addresses of ``processed`` and ``failed``, as far as there are any.

        Raises:
            StoreError: it was taken over meanwhile; nothing is written then.
        """
        failed = [result for result in results if result.failure]
        texts = {
            "failed": [result.row.text for result in failed],
            "processed": [result.row.text for result in results if result.converted],
        }
        tables = {kind: _lines([sheet.head, *rows]).encode() if rows else None for kind, rows in texts.items()}
        causes = [(r.row.text.strip(), r.failure.cause, r.failure.do) for r in failed if r.failure]
        return self._finish(tables, causes)

    def reject(self, error: ClearyearError) -> dict[str, str]:
        """Fail it as a whole, its bytes as they came; see ``conclude``."""
        failure = Failure.of(error)
        return self._finish(
            {"failed": self.store.read(self.name), "processed": None}, [("", failure.cause, failure.do)]
        )

    def settle(self) -> bool:
        """Carry out, or finish, what comes before the first image; whether there is something to convert.

        There is nothing where the CSV was concluded and only the ticket is left, or was replaced or taken away.
        """
        store, ticket = self.store, self.lease.ticket
        if store.stat(self.name) is None:
            concluded = any(store.stat(self._called(kind)) for kind in ("processed", "failed"))
            if concluded or not ticket.raw or not self._raw_is_there():
                return False
            data = store.read(ticket.raw)
            if not self._raw_is_there():
                return False
            store.swap(self.name, data, None)
        if ticket.raw:
            store.remove(ticket.raw, ticket.version)
        return True

    def _raw_is_there(self) -> bool:
        there = self.store.stat(self.lease.ticket.raw)
        return there is not None and there.version == self.lease.ticket.version

    def _called(self, kind: str) -> str:
        return f"{self.base}{kind}-{self.lease.ticket.stamp}.csv"

    def _finish(self, tables: dict[str, bytes | None], causes: Sequence[tuple[str, str, str]]) -> dict[str, str]:
        self.lease.renew()
        store = self.store
        why = self._called("failed").removesuffix(".csv") + "-causes.csv"
        for name, data in (
            (why, _causes(causes, self.lease.ticket.run) if causes else None),
            *((self._called(kind), data) for kind, data in tables.items()),
        ):
            if data is None:
                store.remove(name)  # an earlier try may have ended otherwise, just before its end
            else:
                store.write(name, data)
        found = {kind: store.uri(self._called(kind)) for kind, data in tables.items() if data is not None}
        store.remove(self.name)
        self.lease.give_back()
        store.sweep()
        return found


def take_all(store: Store, *, run: str, is_over: IsOver) -> Iterator[Taken]:
    """Every CSV that waits below the store's root, or that a dead run has left, one after the other.

    Each is taken when it is asked for, not before: what is not reached is another's to take.

    Args:
        store: what is watched.
        run: whose flow run this is.
        is_over: tells of other runs whether they have ended.
    """
    left: dict[str, list[str]] = {}
    for entry in store.entries():
        if match := _PROCESSING.fullmatch(entry.name):
            left.setdefault(match["base"], []).append(match["stamp"])
        elif match := _RAW.fullmatch(entry.name):
            left.setdefault(match["base"], [])
        elif entry.name.rpartition("/")[2].endswith(_TICKET):
            left.setdefault(entry.name.removesuffix(_TICKET), [])
    for base, stamps in left.items():
        if (taken := _take(store, base, stamps, run, is_over)) is not None:
            yield taken


def reopen(store: Store, run: str) -> list[str]:
    """Make raw again what an earlier try of this flow run has failed; returns the CSVs' names."""
    found = []
    for entry in store.entries():
        match = _CAUSES.fullmatch(entry.name)
        if match is None or run not in _runs_of(store.read(entry.name)):
            continue
        failed, raw = f"{match['base']}failed-{match['stamp']}.csv", f"{match['base']}raw.csv"
        there = store.stat(failed)
        if there is not None and store.swap(raw, store.read(failed), None) is not None:
            store.remove(failed, there.version)
            store.remove(entry.name)
            found.append(raw)
    return found


def _take(store: Store, base: str, stamps: Sequence[str], run: str, is_over: IsOver) -> Taken | None:
    for _ in range(_TRIES):
        lease = take_ticket(store, f"{base}{_TICKET}", run, is_over, lambda: _new_ticket(store, base, stamps, run))
        if lease is None:
            return None
        taken = Taken(store, base, lease)
        if taken.settle():
            return taken
        lease.give_back()  # of one that was concluded; what lies there now may be new
    return None


def _new_ticket(store: Store, base: str, stamps: Sequence[str], run: str) -> Ticket | None:
    """For what a run has left without a ticket, else for what is raw; None where neither is there any more."""
    for stamp in stamps:
        if store.stat(f"{base}processing-{stamp}.csv"):
            return Ticket(raw="", version="", stamp=stamp, run=run)
    raw = store.stat(f"{base}raw.csv")
    if raw is None:
        return None
    moment = datetime.now(UTC)
    while any(store.stat(f"{base}{kind}-{moment:{_STAMP}}.csv") for kind in ("processing", "processed", "failed")):
        moment += timedelta(seconds=1)
    return Ticket(raw=raw.name, version=raw.version, stamp=f"{moment:{_STAMP}}", run=run)


def _lines(texts: Sequence[str]) -> str:
    """Rows as they came, each on a line of its own."""
    return "".join(text if not text or text.endswith(("\n", "\r")) else f"{text}\n" for text in texts)


def _causes(causes: Sequence[tuple[str, str, str]], run: str) -> bytes:
    """One row for each that failed, safe to open in a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", "cause", "what to do", "run"])
    writer.writerows([*map(csv_cell, texts), run] for texts in causes)
    return out.getvalue().encode()


def _runs_of(data: bytes) -> set[str]:
    """The flow runs a table of causes is of."""
    try:
        return {row.get("run") or "" for row in csv.DictReader(io.StringIO(data.decode()))}
    except (UnicodeDecodeError, csv.Error):
        return set()
