"""Whole files from elsewhere: ranges of one version, resumed where they broke off, checked as far as the source helps.

Beside ``NAME`` there are, while it is fetched, ``NAME.part`` and ``NAME.part.json`` (which version, how far), and
afterwards ``NAME.json``, what is known of the file. ``NAME`` itself is absent or whole.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict

from clearyear.checksums import claims, digests
from clearyear.errors import ClearyearError, ReadError, StoreError
from clearyear.stores import Entry, shown, stat_uri, without_query
from clearyear.stores.remote import RemoteFile

log = logging.getLogger(__name__)

CHUNK = 8 << 20
"""Bytes of a request, and from one note of how far we are to the next."""


class Fetched(BaseModel):
    """A file that was fetched whole."""

    model_config = ConfigDict(frozen=True)

    uri: str
    """Where from, without a signature."""
    version: str
    size: int
    sha256: str
    verified: str
    """Which checksum of the source's it agrees with, in words; empty where the source offers none."""


def download(entry: Entry, target: Path) -> Fetched:
    """Have the file of ``entry`` at ``target``, fetching only what is not there yet.

    Args:
        entry: what the source holds, in which version; a file elsewhere.
        target: where it goes, a local path.

    Returns:
        What was fetched, or lay there whole in this version.

    Raises:
        ReadError: it broke off, or does not agree with the source's checksum or size; ``transient`` where trying
            again may help. What has come so far is kept, unless it is wrong.
        StoreError: another run is fetching it, or the source has another version by now.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(_beside(target, ".part"), entry) as part:
        if found := _kept(entry, target):
            return found
        sha256, verified = "", ""
        for _ in range(2):
            _fetch_rest(entry, part, target)
            before = sha256
            sha256, verified, doubt = _check(entry, part, target)
            if not doubt:
                break
            if sha256 == before:
                # The ETag of an object that is encrypted with a key of KMS looks like an MD5 and is none.
                log.warning("%s: %s; two downloads agree, so the tag is taken to be no MD5", shown(entry.uri), doubt)
                break
            _note(target, {"done": 0})
        else:
            raise _refused(entry, target, f"two downloads differ, and {doubt}")
        known = Fetched(
            uri=without_query(entry.uri), version=entry.version, size=entry.size, sha256=sha256, verified=verified
        )
        _publish(part, target, known)
        return known


def _kept(entry: Entry, target: Path) -> Fetched | None:
    """What lies there already, if it is whole and of this version."""
    try:
        known = Fetched.model_validate_json(_beside(target, ".json").read_bytes())
    except (OSError, ValueError):
        return None
    if known.version != entry.version or known.size != entry.size or known.uri != without_query(entry.uri):
        return None
    return known if target.is_file() and digests(target, {"sha256"})["sha256"] == known.sha256 else None


def _fetch_rest(entry: Entry, part: IO[bytes], target: Path) -> None:
    """Append what is not there yet; what is of another version is fetched anew."""
    done = _done_before(entry, target, part)
    part.truncate(done)
    part.seek(done)
    source = RemoteFile.of(entry.uri, entry.version)
    while done < entry.size:
        try:
            data = source.fetch(done, min(CHUNK, entry.size - done))
        except ReadError as error:
            raise _why(entry, error) from error
        if not data:
            raise ReadError(f"{shown(entry.uri)} is cut off at {done:,} of {entry.size:,} bytes", uri=shown(entry.uri))
        part.write(data)
        part.flush()
        os.fsync(part.fileno())  # the note must not speak of bytes that a power cut takes away
        done += len(data)
        _note(target, {"uri": without_query(entry.uri), "version": entry.version, "size": entry.size, "done": done})


def _done_before(entry: Entry, target: Path, part: IO[bytes]) -> int:
    try:
        note = json.loads(_beside(target, ".part.json").read_bytes())
        same = [note["uri"], note["version"], note["size"]] == [without_query(entry.uri), entry.version, entry.size]
        done = int(note["done"]) if same else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return done if 0 <= done <= min(entry.size, part.seek(0, os.SEEK_END)) else 0


def _why(entry: Entry, error: ReadError) -> ClearyearError:
    """What came in the way: another version of the file, or just what was said."""
    with suppress(ClearyearError):
        now = None if error.transient else stat_uri(entry.uri)
        if now is not None and now.version != entry.version:
            return StoreError(
                f"{shown(entry.uri)} was replaced at its source while it was fetched",
                "one version of it",
                "run the same again: it is fetched anew",
                uri=shown(entry.uri),
            )
    return ReadError(f"{shown(entry.uri)} {error.found}", transient=error.transient, uri=shown(entry.uri))


def _check(entry: Entry, part: IO[bytes], target: Path) -> tuple[str, str, str]:
    """(SHA-256, which checksum agrees, what speaks against it though it proves nothing)."""
    said = dict(claims(entry))
    found = digests(Path(part.name), {algorithm for algorithm, _ in said.values()} | {"sha256"})
    agreed = []
    doubt = ""
    for who, (algorithm, wanted) in said.items():
        if found[algorithm] == wanted:
            agreed.append(f"{algorithm} ({who})")
        elif who == "ETag":
            doubt = f"its MD5 is {found['md5']}, its ETag {wanted}"
        else:
            raise _refused(entry, target, f"its {algorithm} is {found[algorithm]}, {who} says {wanted}")
    return found["sha256"], ", ".join(agreed), "" if agreed else doubt


def _refused(entry: Entry, target: Path, why: str) -> ReadError:
    """What came is not what the source says: it goes, so that the next try begins anew."""
    _note(target, {"done": 0})
    return ReadError(
        f"{shown(entry.uri)} came damaged: {why}",
        "the bytes whose checksum the source gives",
        "run the same again: it is fetched anew; if it stays so, tell the source",
        transient=True,
        uri=shown(entry.uri),
    )


@contextmanager
def _locked(path: Path, entry: Entry) -> Iterator[IO[bytes]]:
    """The partial file, for us alone as long as the block lasts; a process that is killed lets go of it."""
    with path.open("a+b") as file:
        pass
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                f"{shown(entry.uri)} is being fetched by another run",
                "one run at a time for a folder of downloads",
                "wait for it, or name another folder",
                transient=True,
                uri=shown(entry.uri),
            ) from error
        yield file


def _publish(part: IO[bytes], target: Path, known: Fetched) -> None:
    os.replace(part.name, target)
    _beside(target, ".part.json").unlink(missing_ok=True)
    _write(_beside(target, ".json"), known.model_dump_json(indent=1))


def _note(target: Path, values: Mapping[str, object]) -> None:
    _write(_beside(target, ".part.json"), json.dumps(values))


def _write(path: Path, text: str) -> None:
    scratch = _beside(path, ".new")
    scratch.write_text(text)
    os.replace(scratch, path)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)
