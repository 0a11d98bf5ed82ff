"""One command from a bare Python: make the environment once, then run what was asked.

    python3 scripts/dev.py demo          the main job on a small year of made-up scenes
    python3 scripts/dev.py test          the tests
    python3 scripts/dev.py check         lint, formatting, types
    python3 scripts/dev.py clearyear …   the command line itself

It needs Python >= 3.11 with pip and nothing else. The packages are those of requirements/*.lock, verified
by hash, in .venv beside this folder; they are installed again only when a lock file changes.
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("CLEARYEAR_VENV", ROOT / ".venv"))
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")

COMMANDS = {
    "demo": [["clearyear", "demo"]],
    "test": [["pytest", "-n", "3", "--dist", "loadgroup"]],
    "check": [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
    ],
    "clearyear": [["clearyear"]],
}
NEEDS_DEV = {"test", "check"}


def install(lock: Path) -> None:
    """Bring .venv to what ``lock`` and pyproject.toml say; a stamp makes the next call free."""
    digest = hashlib.sha256(lock.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = VENV / f"{lock.stem}.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"Installing {lock.name} into {VENV} (first time only, a few minutes)", file=sys.stderr)
    if not BIN.exists():
        venv.create(VENV, with_pip=True)
    pip = [str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # --no-deps: the lock is whole, and pip's resolver would look past it for sqlalchemy[asyncio].
    subprocess.run([*pip, "--no-deps", "--require-hashes", "--requirement", str(lock)], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", str(ROOT)], check=True)
    stamp.write_text(digest)


def main(argv: list[str]) -> int:
    if not argv or argv[0] not in COMMANDS:
        print(__doc__, file=sys.stderr)
        return 2
    if sys.version_info < (3, 11):
        found = ".".join(map(str, sys.version_info[:3]))
        print(f"clearyear needs Python 3.11 or newer; this is {found}.", file=sys.stderr)
        return 2
    name, *rest = argv
    install(ROOT / "requirements" / ("dev.lock" if name in NEEDS_DEV else "run.lock"))
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    for command in COMMANDS[name]:
        status = subprocess.run([str(BIN / command[0]), *command[1:], *rest]).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
