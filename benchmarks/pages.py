"""Measure everything, and put it into the documents.

    python benchmarks/pages.py measure [NAME ...]    # an hour and more on a quiet machine; all, or those named
    python benchmarks/pages.py write                 # what was measured last → docs/*.md and the picture

What a script prints is kept in results/NAME.md; the window's rounds in results/window.json. In a document it stands
between ``<!-- NAME: python benchmarks/NAME.py -->`` and ``<!-- end of NAME -->``; nothing there is written by hand.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import chart
import scaling
import window
from common import HERE, RESULTS

DOCS = HERE.parent / "docs"
SCRATCH = Path(os.environ.get("CLEARYEAR_BENCH_SCRATCH", "/tmp/clearyear-benchmarks"))  # noqa: S108
SAVED = RESULTS / "window.json"
STACK, FAR = str(SCRATCH / "stack"), str(SCRATCH / "far")
COMMANDS: dict[str, list[list[str]]] = {
    "window": [["stack.py", STACK], ["window.py", STACK, "--peers", "--save", str(SAVED)]],
    "kernels": [["kernels.py"]],
    "mosaic": [["mosaic.py", str(SCRATCH / "mosaic")]],
    "network": [["stack.py", FAR, "--scenes", "96", "--size", "2048"], ["network.py", FAR]],
    "orchestration": [["orchestration.py", str(SCRATCH / "orchestration")]],
    "startup": [["stack.py", STACK], ["startup.py", STACK]],
    "memory": [["stack.py", STACK], ["memory.py", STACK, "--limits", "2GiB", "--run"]],
}
"""Every benchmark: what prepares it, and last what prints its tables."""


def measure(names: list[str]) -> None:
    """Run the benchmarks, one after the other, and keep what they say."""
    RESULTS.mkdir(exist_ok=True)
    for name in names:
        commands = COMMANDS[name]
        if not (HERE / commands[-1][0]).exists():
            print(f"{commands[-1][0]} is not there", file=sys.stderr)
            continue
        print(f"{name}: load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        if name == "window":
            SAVED.unlink(missing_ok=True)
        for script, *more in commands:
            command = [sys.executable, HERE / script, *more]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        if name != "window":
            (RESULTS / f"{name}.md").write_text(said)


def block(name: str) -> str:
    """What stands between the marks of ``name``."""
    results = json.loads(SAVED.read_text())
    if name == "window":
        return f"{window.table(results)}\n\n{window.bars(results)}"
    if name == "scaling":
        return scaling.tables(results)
    return (RESULTS / f"{name}.md").read_text().strip()


def written(page: str) -> str:
    """A page with every marked part as it should be."""

    def fill(found: re.Match[str]) -> str:
        return f"{found[1]}\n\n{block(found[2])}\n\n{found[3]}"

    return re.sub(r"(<!-- (\w+): [^\n]* -->)\n.*?(<!-- end of \2 -->)", fill, page, flags=re.S)


def write() -> None:
    """Every page under docs, and the picture."""
    for path in sorted(DOCS.rglob("*.md")):
        page = path.read_text()
        if (new := written(page)) != page:
            path.write_text(new)
            print(path.relative_to(HERE.parent))
    chart.chart(json.loads(SAVED.read_text())).quantize(64).save(DOCS / "images" / "performance.png", optimize=True)


def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("measure", "write"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(COMMANDS)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(COMMANDS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(COMMANDS)}")
    if arguments.verb == "measure":
        measure(arguments.names or list(COMMANDS))
    else:
        write()


if __name__ == "__main__":
    main()
