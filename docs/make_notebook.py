"""Make docs/notebooks/first-composite.ipynb: write its cells, run them, keep what they print.

In an environment of its own, since the project itself needs no Jupyter:

    python -m venv /tmp/notebook && /tmp/notebook/bin/pip install nbclient ipykernel . pillow
    /tmp/notebook/bin/python docs/make_notebook.py

TEXT is what stands in its cells, in the form that editors know as «percent»; what the notebook shows beside it is what
running it gave.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

TARGET = Path(__file__).parent / "notebooks" / "first-composite.ipynb"
_MOST_BYTES = 300_000

TEXT = """
# %% [markdown]
# A first composite

Twenty-four cloudy scenes of one year become one clear picture, window by window, and the result is checked. All that
is called here is the core, plain functions over files and plans; `clearyear.run` does all of it in one call, and
`clearyear run` with Prefect around it. The scenes are made up on the spot, so nothing is downloaded.

# %%
import os
import tempfile
from pathlib import Path

from clearyear.demo import make_scenes

folder = Path(tempfile.mkdtemp(prefix="first-composite-"))
os.chdir(folder)
make_scenes(Path("scenes"), size=512)
scenes = sorted(Path("scenes").glob("*.tif"))
print(len(scenes), "scenes,", scenes[0].name, "to", scenes[-1].name)

# %% [markdown]
## What they look like

Clouds and their shadows, snow, and the edge of the swath.

# %%
import io

import numpy as np
import rasterio
from PIL import Image


class Picture:
    def __init__(self, pixels):
        self.image = Image.fromarray(np.moveaxis(pixels, 0, -1))

    def _repr_jpeg_(self):  # what Jupyter shows
        jpeg = io.BytesIO()
        self.image.save(jpeg, "JPEG", quality=80)
        return jpeg.getvalue()


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read(out_shape=(dataset.count, 256, 256))


shown = np.concatenate([read(scenes[i]) for i in (2, 9, 17)], axis=2)
Picture(shown)

# %% [markdown]
## The plan

A job says what is wanted; the plan says everything that will be done, and is written down first. Making it reads
headers only.

# %%
from clearyear import Job, make_plan, put_down
from clearyear.estimate import estimate

job = Job(scenes="scenes", period="2023", out="out", tile_size=256, layers=["count", "source"])
plan = put_down(make_plan(job))
print(len(plan.windows), "windows of", plan.tile_size, "px from", len(plan.scenes), "scenes")
print([w.action for w in estimate(plan).windows])

# %% [markdown]
## Compute, check, join

Each window is read from every scene, masked, reduced and written, its record last. What is there is then checked byte
for byte against the plan, joined to one COG, and reported.

# %%
from clearyear import compute_window, join_windows, open_store

store = open_store(plan.destination)
for window in plan.windows:
    result = compute_window(plan, window, store)
    print(result.id, result.status, f"{result.valid_share:.1%} of its pixels seen")
report = join_windows(plan)
print(report.status, Path(report.mosaic).name)

# %% [markdown]
Each pixel is a colour that some scene really saw: of the valid samples the one of median brightness.

# %%
Picture(read(report.mosaic))

# %% [markdown]
`count` says how many valid samples a pixel had, `source` which scene it was taken from.

# %%
count = read(report.layers["count"])[0]
source = read(report.layers["source"])[0]
print("valid samples of a pixel:", count.min(), "to", count.max())
days = [scene.datetime.timetuple().tm_yday for scene in plan.scenes]
print("day of the year, top left pixel:", days[source[0, 0]])

# %% [markdown]
## What if something is broken

One tile is damaged, another is gone. Both are found and named, and only they are computed again.

# %%
from clearyear import check_plan

tiles = Path(plan.destination)
damaged, gone = (tiles / plan.tile_name(plan.windows[i]) for i in (0, 3))
content = bytearray(damaged.read_bytes())
content[len(content) // 2] ^= 255
damaged.write_bytes(content)
gone.unlink()
statuses = check_plan(plan, store)
for status in statuses:
    print(status.id, status.status, status.cause.split(":")[0])

# %%
from clearyear import run

again = run(job)
print(again.status, f"{again.done} of {again.expected} windows")

# %% [markdown]
## Where it lies

A static STAC catalogue leads to the composite; any STAC client and any GIS opens it.

# %%
import pystac

for item in pystac.Catalog.from_file("out/catalog.json").get_items(recursive=True):
    print(item.id, "·", item.properties["processing:lineage"])
    print(sorted(item.assets))
"""


def cells() -> list[tuple[str, str]]:
    """(kind, source) of each cell: ``markdown`` or ``code``."""
    found = []
    for part in TEXT.split("# %%")[1:]:
        head, _, source = part.partition("\n")
        found.append(("markdown" if "[markdown]" in head else "code", source.strip()))
    return found


def notebook() -> Any:
    """The notebook, not run yet."""
    import nbformat

    made = nbformat.v4.new_notebook()
    new = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    made.cells = [new[kind](source, id=f"{kind}-{number}") for number, (kind, source) in enumerate(cells())]
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


def main() -> None:
    """Run it in a scratch folder and write it, with its outputs, beside this script."""
    import nbformat
    from nbclient import NotebookClient

    made = notebook()
    with TemporaryDirectory() as folder:
        NotebookClient(made, timeout=600, resources={"metadata": {"path": folder}}).execute()
    for cell in made.cells:
        cell.metadata = {}  # when each cell ran is nobody's concern, and would differ every time
        for output in cell.get("outputs", []):
            if "image/jpeg" in output.get("data", {}):
                output["data"]["text/plain"] = "a picture"  # and not where in memory it lay
    TARGET.parent.mkdir(exist_ok=True)
    nbformat.write(made, TARGET)
    size = TARGET.stat().st_size
    if size > _MOST_BYTES:
        raise SystemExit(f"{TARGET} has {size} bytes; make its pictures smaller")
    print(f"{TARGET}: {size} bytes")


if __name__ == "__main__":
    main()
