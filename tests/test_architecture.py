"""The house rules that a machine can hold."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "src" / "clearyear"

# Dependencies run one way. A module may import from its own layer and from those above it in this list.
LAYERS = [
    {"", "errors", "redact", "settings", "limits", "progress", "stores"},  # stores is the I/O that even manifests need
    {
        "periods",
        "naming",
        "observations",
        "grid",
        "coordinates",
        "area",
        "masks",
        "mask_presets",
        "display",
        "reducers",
        "reading.resample",
        "reading.morphology",
        "reading.samples",
        "scenes.scene",
        "scenes.names",
        "scenes.stac_query",
        "scenes.band_names",
        "scenes.harmonise",
        "scenes.fuse",
        "scenes.solar",
    },
    {
        "product",
        "plan",
        "runs",
        "memory",
        "job",
        "job_keys",
        "job_file",
        "job_types",
        "reading.gdal",
        "reading.tiff",
        "reading.index_cache",
        "reading.inner_mask",
        "cog.tiffwrite",
        "reading.ranges",
        "reading.verify",
        "cog.blocks",
        "cog.overviews",
        "cog.layers",
        "cog.parts",
        "scenes",
        "geobox",
        "places",
        "checksums",
        "download",
        "unpack",
        "zonal.job",
        "lights.job",
    },
    {
        "cog.geotiff",
        "cog.assemble",
        "reading.direct",
        "reading.sources",
        "reading.stack",
        "reading.located",
        "reading.observe",
        "demo",
    },
    {"window", "completeness", "budget", "batch", "sizing", "cost"},
    {"pictures", "visual", "mosaic", "remedy", "report", "report_text", "stac", "warm"},
    {"views", "selection", "catalog", "published"},
    {"finding", "job_product", "differences"},
    {"convert"},
    {"prepare"},
    {"publish", "past", "estimate", "payload", "backfill"},
    {"in_process"},
    {"zonal"},
    {"lights"},
    {"console", "source_options", "options", "cli", "cli_results", "cli_runs", "verbs"},
]


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(CORE.rglob("*.py")):
        parts = path.relative_to(CORE).with_suffix("").parts
        found.append((".".join(p for p in parts if p != "__init__"), path))
    return found


def imports(path: Path) -> set[str]:
    """Every module named in an import statement of the file, wherever it stands.

    But for what the package offers: its names are loaded when they are used, and imported for type checkers only.
    """
    named: set[str] = set()
    tree = ast.parse(path.read_text())
    if path == CORE / "__init__.py":
        tree.body = [node for node in tree.body if ast.unparse(node).partition(":")[0] != "if TYPE_CHECKING"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            named |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return named


def layer(module: str) -> int:
    name = module
    while True:
        for index, names in enumerate(LAYERS):
            if name in names:
                return index
        assert name, f"{module} stands in no layer"
        name = name.rpartition(".")[0]


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_the_core_never_imports_prefect(module: str, path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] in {"prefect", "prefect_gcp", "flows", "tasks"}}


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_dependencies_run_one_way(module: str, path: Path) -> None:
    known = {name for name, _ in modules()}
    for name in imports(path):
        target = name.removeprefix("clearyear").lstrip(".")
        if name.split(".")[0] == "clearyear" and target in known:
            assert layer(target) <= layer(module), f"{module} imports {target} from a later layer"


def test_tasks_do_not_import_flows() -> None:
    for path in (ROOT / "tasks").glob("*.py"):
        assert not {name for name in imports(path) if name.split(".")[0] == "flows"}, path


def test_the_package_itself_loads_none_of_its_modules() -> None:
    code = "import sys, clearyear; print(*(m for m in sys.modules if m.startswith('clearyear.')))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"


@pytest.mark.parametrize("module", ["clearyear", "clearyear.cli"])
def test_light_to_import(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"prefect", "numba", "rasterio", "xarray", "numpy", "pydantic"} & set(loaded)


def test_modules_stay_small() -> None:
    long = {path.name: n for _, path in modules() if (n := len(path.read_text().splitlines())) > 260}
    assert not long


def test_functions_stay_short() -> None:
    # The kernels are loops over loops that the compiler wants in one piece.
    exempt = {"kernel", "rank_kernel", "luminance_kernel", "geomedian_kernel", "distance_kernel", "_solve", "evaluate"}
    long = {}
    for _, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name not in exempt:
                body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
                length = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                if length > 40:
                    long[f"{path.name}:{node.name}"] = length
    assert not long
