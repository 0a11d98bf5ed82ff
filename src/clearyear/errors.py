"""Every error clearyear raises on purpose.

    ClearyearError            exit 1   anything else that is ours
    ├── InputError            exit 2   the job, its scenes or its destination are not what they must be
    │   └── NoScenesError              none of the scenes was taken in the period
    ├── ReadError                      one scene could not be read in one window
    ├── WindowError                    one window could not be computed
    ├── BatchError                     some windows of a batch could not be computed
    ├── StoreError                     a store did not answer as it must
    └── IncompleteError       exit 3   windows are missing and the user did not allow that

Each says what was found, what was wanted and what to do, in one paragraph, and carries the fields a program
would ask for. Secrets that an address or a server's words may hold are taken out. ``transient`` is True
where doing the same thing again may help.
"""

from typing import Any

from clearyear.redact import redact


class ClearyearError(Exception):
    """The root: what was found, what was wanted, what to do.

    Args:
        found: what is there, with the offending value.
        wanted: what would have been right; may be empty.
        do: what the user can do about it; may be empty.
        transient: whether the same call may succeed later.
        window: id of the window concerned.
        scene: id of the scene concerned.
        uri: the file or folder concerned.
    """

    exit_code = 1

    def __init__(
        self,
        found: str,
        wanted: str = "",
        do: str = "",
        *,
        transient: bool = False,
        window: str | None = None,
        scene: str | None = None,
        uri: str | None = None,
    ) -> None:
        found, wanted, do = redact(found), redact(wanted), redact(do)
        # The positional arguments alone go to Exception, so that pickling restores the error and its __dict__.
        super().__init__(found, wanted, do)
        self.found, self.wanted, self.do = found, wanted, do
        self.transient = transient
        self.window, self.scene, self.uri = window, scene, uri and redact(uri)

    def __str__(self) -> str:
        """One paragraph; empty parts are left out."""
        parts = [self.found]
        if self.wanted:
            parts.append(f"Wanted: {self.wanted}")
        if self.do:
            parts.append(f"What to do: {self.do}")
        return " ".join(p if p.endswith((".", "!", "?")) else f"{p}." for p in parts)


class InputError(ClearyearError):
    """The user's input is wrong: a job, a scene, a manifest, a destination."""

    exit_code = 2


class NoScenesError(InputError):
    """The source is there, but none of its scenes was taken in the period; a backfill may go on to the next."""


class ReadError(ClearyearError):
    """One scene could not be read in one window."""


class WindowError(ClearyearError):
    """One window could not be computed; more scenes failed than the job allows."""


class BatchError(ClearyearError):
    """Some windows of a batch could not be computed; ``causes`` says why, by window id. The others are done."""

    def __init__(
        self,
        found: str,
        wanted: str = "",
        do: str = "",
        *,
        causes: dict[str, str] | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(found, wanted, do, transient=transient)
        self.causes = causes or {}


class StoreError(ClearyearError):
    """A store (folder, bucket) refused or failed."""


class IncompleteError(ClearyearError):
    """Windows are missing, invalid or stale and the user did not allow an incomplete mosaic.

    ``outcome`` is what the report says, as ``--json`` prints it.
    """

    exit_code = 3

    def __init__(self, found: str, wanted: str = "", do: str = "", *, outcome: dict[str, Any] | None = None) -> None:
        super().__init__(found, wanted, do)
        self.outcome = outcome or {}
