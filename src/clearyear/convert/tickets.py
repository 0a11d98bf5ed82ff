"""Tickets: who works on a list of images, written beside it, so that nobody else does.

A ticket is put down, renewed and taken over on the condition that what lies there is what was looked at
(``Store.swap``), so of several who try at once one succeeds. It is nobody's once its flow run has ended or it was not
renewed for a while.
"""

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

from pydantic import BaseModel, ConfigDict

from clearyear.errors import ClearyearError, StoreError
from clearyear.settings import current_settings
from clearyear.stores import Store

log = logging.getLogger(__name__)

IsOver = Callable[[str], bool | None]
"""Whether a flow run has ended; None where nobody knows."""


class Ticket(BaseModel):
    """Who works on a CSV."""

    model_config = ConfigDict(frozen=True)

    raw: str
    """The CSV as it was found; empty where only ``processing`` was."""
    version: str
    """Its version."""
    stamp: str
    """What is in its names from now on: ``20261125-234500``, UTC."""
    run: str
    """The flow run."""
    owner: str = ""
    """Another each time it is taken."""
    renewed: datetime = datetime.min.replace(tzinfo=UTC)

    def is_held(self, run: str, is_over: IsOver) -> bool:
        """Whether another run still works on it. One of our own run's is left over from before its retry."""
        if self.run == run or is_over(self.run):
            return False
        return datetime.now(UTC) - self.renewed < timedelta(seconds=current_settings().ticket_stale_seconds)


class Lease:
    """A ticket that is ours, until it is given back or somebody takes it for abandoned."""

    def __init__(self, store: Store, name: str, ticket: Ticket, version: str) -> None:
        self.store, self.name, self.ticket = store, name, ticket
        self._version = version

    def renew(self) -> None:
        """Say that we are still here.

        Raises:
            StoreError: it is another's by now.
        """
        ticket = self.ticket.model_copy(update={"renewed": datetime.now(UTC)})
        version = self.store.swap(self.name, _json(ticket), self._version)
        if version is None:
            uri = self.store.uri(self.name)
            raise StoreError(
                f"The ticket {uri} is another's by now: this run was taken for dead",
                "a run that is heard of",
                "nothing: the other one goes on with it",
                uri=uri,
            )
        self.ticket, self._version = ticket, version

    @contextmanager
    def held(self) -> Iterator[None]:
        """Renew it for as long as the block lasts."""
        done = Event()
        thread = Thread(target=self._renew_until, args=(done,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def give_back(self) -> None:
        """Remove it, if it is still ours."""
        self.store.remove(self.name, self._version)

    def _renew_until(self, done: Event) -> None:
        while not done.wait(current_settings().ticket_renew_seconds):
            try:
                self.renew()
            except ClearyearError as error:
                log.warning("%s", error)
                if not error.transient:
                    return  # lost: who wants to conclude will hear of it


def take_ticket(store: Store, name: str, run: str, is_over: IsOver, fresh: Callable[[], Ticket | None]) -> Lease | None:
    """The ticket of that name, if it is nobody's and no other is quicker; what ``fresh`` gives where there is none."""
    there = store.stat(name)
    before = _read(store, name) if there else None
    if before is not None and before.is_held(run, is_over):
        return None
    ticket = before or fresh()
    if ticket is None:
        return None
    ours = {"run": run, "owner": uuid.uuid4().hex, "renewed": datetime.now(UTC)}
    ticket = ticket.model_copy(update=ours)
    version = store.swap(name, _json(ticket), there.version if there else None)
    return Lease(store, name, ticket, version) if version else None


def _read(store: Store, name: str) -> Ticket | None:
    """The ticket that lies there; None where it is gone or is none, and then it is nobody's."""
    try:
        return Ticket.model_validate_json(store.read(name))
    except ValueError:
        return None
    except StoreError as error:
        if error.transient:
            raise  # it may well be somebody's
        return None


def _json(ticket: Ticket) -> bytes:
    return (ticket.model_dump_json(indent=1) + "\n").encode()
