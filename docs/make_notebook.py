"""Make docs/notebooks/first-composite.ipynb: write its cells, run them, keep what they print.

In an environment of its own, since the project itself needs no Jupyter:

    python -m venv /tmp/notebook && /tmp/notebook/bin/pip install nbclient ipykernel . pillow
    /tmp/notebook/bin/python docs/make_notebook.py

A text and the code that follows it stand side by side in CELLS; what the notebook shows is what running it gave.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

TARGET = Path(__file__).parent / "notebooks" / "first-composite.ipynb"
_MOST_BYTES = 300_000

CELLS: list[tuple[str, str]] = [
    (
        "# A first composite\n\n"
        "Twenty-four cloudy scenes of one year become one clear picture, window by window, and the result is checked. "
        "All that is called here is the core, plain functions over files and plans; `clearyear run` does the same with "
        "Prefect around it. The scenes are made up on the spot, so nothing is downloaded.",
        "import os\n"
        "import tempfile\n"
        "from pathlib import Path\n\n"
        "from clearyear.demo import make_scenes\n\n"
        "folder = Path(tempfile.mkdtemp(prefix='first-composite-'))\n"
        "os.chdir(folder)\n"
        "make_scenes(Path('scenes'), size=512)\n"
        "scenes = sorted(Path('scenes').glob('*.tif'))\n"
        "print(len(scenes), 'scenes,', scenes[0].name, 'to', scenes[-1].name)",
    ),
    (
        "## What they look like\n\nClouds and their shadows, snow, and the edge of the swath.",
        "import io\n\n"
        "import numpy as np\n"
        "import rasterio\n"
        "from PIL import Image\n\n\n"
        "class Picture:\n"
        "    def __init__(self, pixels):\n"
        "        self.image = Image.fromarray(np.moveaxis(pixels, 0, -1))\n\n"
        "    def _repr_jpeg_(self):  # what Jupyter shows\n"
        "        jpeg = io.BytesIO()\n"
        "        self.image.save(jpeg, 'JPEG', quality=80)\n"
        "        return jpeg.getvalue()\n\n\n"
        "def read(path):\n"
        "    with rasterio.open(path) as dataset:\n"
        "        return dataset.read(out_shape=(dataset.count, 256, 256))\n\n\n"
        "shown = np.concatenate([read(scenes[i]) for i in (2, 9, 17)], axis=2)\n"
        "Picture(shown)",
    ),
    (
        "## The plan\n\n"
        "A job says what is wanted; the plan says everything that will be done, and is written down first. Making it "
        "reads headers only.",
        "from clearyear.estimate import estimate\n"
        "from clearyear.job import Job\n"
        "from clearyear.prepare import prepare\n\n"
        "job = Job(scenes='scenes', period='2023', out='out', tile_size=256, layers=['count', 'source'])\n"
        "plan = prepare(job)\n"
        "print(len(plan.windows), 'windows of', plan.tile_size, 'px from', len(plan.scenes), 'scenes')\n"
        "print([w.action for w in estimate(plan).windows])",
    ),
    (
        "## Compute, check, join\n\n"
        "Each window is read from every scene, masked, reduced and written, its record last. What is there is then "
        "checked byte for byte against the plan, joined to one COG, and reported.",
        "from clearyear.publish import join_windows\n"
        "from clearyear.stores import open_store\n"
        "from clearyear.window import compute_window\n\n"
        "store = open_store(plan.destination)\n"
        "for window in plan.windows:\n"
        "    result = compute_window(plan, window, store)\n"
        "    print(result.id, result.status, f'{result.valid_share:.1%} of its pixels seen')\n"
        "report = join_windows(plan)\n"
        "print(report.status, Path(report.mosaic).name)",
    ),
    (
        "Each pixel is a colour that some scene really saw: of the valid samples the one of median brightness.",
        "Picture(read(report.mosaic))",
    ),
    (
        "`count` says how many valid samples a pixel had, `source` which scene it was taken from.",
        "count = read(report.layers['count'])[0]\n"
        "source = read(report.layers['source'])[0]\n"
        "print('valid samples of a pixel:', count.min(), 'to', count.max())\n"
        "days = [scene.datetime.timetuple().tm_yday for scene in plan.scenes]\n"
        "print('day of the year, top left pixel:', days[source[0, 0]])",
    ),
    (
        "## What if something is broken\n\n"
        "One tile is damaged, another is gone. Both are found and named, and only they are computed again.",
        "from clearyear.completeness import check_plan\n\n"
        "tiles = Path(plan.destination)\n"
        "damaged, gone = (tiles / plan.tile_name(plan.windows[i]) for i in (0, 3))\n"
        "content = bytearray(damaged.read_bytes())\n"
        "content[len(content) // 2] ^= 255\n"
        "damaged.write_bytes(content)\n"
        "gone.unlink()\n"
        "statuses = check_plan(plan, store)\n"
        "for status in statuses:\n"
        "    print(status.id, status.status, status.cause.split(':')[0])",
    ),
    (
        "",
        "for window, status in zip(plan.windows, statuses):\n"
        "    if not status.is_done:\n"
        "        compute_window(plan, window, store)\n"
        "again = join_windows(plan)\n"
        "print(again.status, f'{again.done} of {again.expected} windows')",
    ),
    (
        "## Where it lies\n\nA static STAC catalogue leads to the composite; any STAC client and any GIS opens it.",
        "import pystac\n\n"
        "for item in pystac.Catalog.from_file('out/catalog.json').get_items(recursive=True):\n"
        "    print(item.id, '·', item.properties['processing:lineage'])\n"
        "    print(sorted(item.assets))",
    ),
]


def notebook() -> Any:
    """The cells, not run yet."""
    import nbformat

    made = nbformat.v4.new_notebook()
    for number, (text, code) in enumerate(CELLS):
        if text:
            made.cells.append(nbformat.v4.new_markdown_cell(text, id=f"text-{number}"))
        made.cells.append(nbformat.v4.new_code_cell(code, id=f"code-{number}"))
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
    TARGET.parent.mkdir(exist_ok=True)
    nbformat.write(made, TARGET)
    size = TARGET.stat().st_size
    if size > _MOST_BYTES:
        raise SystemExit(f"{TARGET} has {size} bytes; make its pictures smaller")
    print(f"{TARGET}: {size} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
