"""Write docs/licences.md from what is installed: .venv/bin/python scripts/licences.py [--check].

One row for each package of requirements/run.lock that is installed here, with the licence its own metadata tells.
--check writes nothing and exits 1 if the file is not what would be written, or if a package
tells no licence or one that is not among those we have looked at.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "licences.md"

CLASSIFIER = "License :: OSI Approved :: "
LOOKED_AT = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla Public License 2|Unlicense|0BSD|Zlib|HPND|CNRI|CC0|"
    r"Artistic|LGPL|Public Domain",
    re.IGNORECASE,
)
"""Permissive licences, and weak copyleft ones (MPL, LGPL) of packages we import and do not change."""

KNOWN: dict[str, str] = {}
"""Where metadata tells nothing: what the licence file beside the code says."""


def main(argv: list[str]) -> int:
    names = sorted(set(re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements" / "run.lock").read_text(), re.M)))
    rows, odd = [], []
    for name in names:
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # of another platform
        licence = licence_of(found) or KNOWN.get(name, "")
        if not LOOKED_AT.search(licence):
            odd.append(f"{name}: {licence or 'tells none'}")
        rows.append(f"| {name} | {found.version} | {licence or '**not told**'} |")
    text = "\n".join([
        "# Licences",
        "",
        "clearyear itself is under the Apache License 2.0. What it installs (`requirements/run.lock`), as packages'",
        "own metadata tells it; the texts lie in the packages' `.dist-info` folders. Written by `scripts/licences.py`.",
        "Wheels bundle libraries of their own: rasterio's hold GDAL, PROJ, GEOS (LGPL) and more.",
        "",
        "| package | version | licence |",
        "|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip
    if "--check" not in argv:
        TARGET.write_text(text)
    elif not TARGET.exists() or TARGET.read_text() != text:
        odd.append(f"{TARGET} is not up to date: run this script")
    for line in odd:
        print(line, file=sys.stderr)
    return 1 if odd else 0


def licence_of(found: Distribution) -> str:
    """What the metadata says: the SPDX expression, else classifiers, else the first line of the old field."""
    about = found.metadata
    if expression := about.get("License-Expression"):
        return expression
    classes = [c.removeprefix(CLASSIFIER) for c in about.get_all("Classifier") or [] if c.startswith(CLASSIFIER)]
    if classes:
        return ", ".join(classes)
    lines = [line.strip() for line in (about.get("License") or "").splitlines() if line.strip()]
    return lines[0][:60] if lines else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
