"""Reducers from elsewhere: the one in the documentation, what is refused, and that a name alone loads nothing."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import oracle
import pytest
import rasterio
from click.testing import CliRunner
from runs import finished

from clearyear.cli import main
from clearyear.completeness import check_plan
from clearyear.errors import ClearyearError, InputError
from clearyear.job import Job, make_job
from clearyear.prepare import find_plan, make_plan
from clearyear.reducers import Inputs, LayerKind, Reducer, get_reducer, usual_kind
from clearyear.reducers.base import Stack
from clearyear.stores import open_store

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "write-a-reducer.md"


class Least(Reducer):
    """The smallest reducer there can be."""

    name = "least"
    version = 1
    layers = ("composite", "count")

    def reduce(self, stack: Stack, *, wanted: Any = None) -> Any:
        del wanted
        samples = stack.samples
        return {"composite": samples.min(axis=0), "count": np.full(samples.shape[1:], len(samples), np.uint16)}


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Make a module ``plugged`` with a class that is Least but for what is given; returns its name for a job."""
    module = ModuleType("plugged")
    monkeypatch.setitem(sys.modules, "plugged", module)
    monkeypatch.setenv("CLEARYEAR_PLUGINS", "other, plugged")

    def make(**changes: Any) -> str:
        module.Mine = type("Mine", (Least,), changes)  # type: ignore[attr-defined]
        return "plugged:Mine"

    return make


def reduce(name: str, **options: Any) -> Any:
    reducer = get_reducer(name, options)
    return reducer.reduce(Stack(np.ones((3, 2, 4, 5), np.uint8), (0.0,), 0.0), wanted=reducer.layers)


# -- the guide -----------------------------------------------------------------------------------------------


def test_the_guides_example(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class of the how-to page, as it stands there, as a whole product."""
    (code,) = re.findall(r"```python\n# brightest.py\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "brightest.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CLEARYEAR_PLUGINS", "brightest")
    job = {"reducer": "brightest:Brightest", "options": {"least": 2}, "layers": ["count", "range"]}
    plan = finished(scenes, tmp_path / "out", **job)
    stack = oracle.read_all(sorted(scenes.glob("*.tif"))).astype(float)
    stack[stack == 0] = np.nan
    count = np.isfinite(stack).sum(axis=0)
    high, low = np.fmax.reduce(stack), np.fmin.reduce(stack)
    folder = Path(plan.destination)
    expected = {
        "composite": np.where(count >= 2, high, 0),
        "count": count,
        "range": np.where(count >= 2, high - low, np.nan),
    }
    for layer, array in expected.items():
        with rasterio.open(folder / plan.mosaic_name(layer)) as dataset:
            assert np.array_equal(dataset.read(), array.astype(dataset.dtypes[0]), equal_nan=True)
    item = json.loads((folder / plan.item_name).read_text())
    assert item["properties"]["clearyear:reducer"] == "brightest:Brightest"
    assert item["assets"]["range"]["title"] == "Highest minus lowest value"
    assert item["assets"]["range"]["nodata"] == "nan"
    assert find_plan(str(tmp_path / "out")) == plan


# -- what loads, and what does not ---------------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [None, "", "plug", "pluggedother", "plugged.below", " , "])
def test_a_name_alone_loads_nothing(
    plugged: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allowed: str | None
) -> None:
    plugged()
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    if allowed is None:
        monkeypatch.delenv("CLEARYEAR_PLUGINS")
    else:
        monkeypatch.setenv("CLEARYEAR_PLUGINS", allowed)
    for name in ("plugged:Mine", "trap:Anything", "os:system"):
        with pytest.raises(InputError, match="which this machine does not allow"):
            get_reducer(name)
        make_job({"scenes": "s", "out": "o", "reducer": name})  # as the form in the UI sends it: a name, no import
    assert not (tmp_path / "sprung").exists()


def test_a_plan_in_a_bucket_loads_nothing(
    scenes: Path, tmp_path: Path, plugged: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write a plan.json must not choose code for whoever reads it."""
    finished(scenes, tmp_path / "out", reducer=plugged())
    monkeypatch.setenv("CLEARYEAR_PLUGINS", "")
    done = CliRunner().invoke(main, ["report", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "The reducer plugged:Mine is code from the module plugged, which this machine does not allow" in done.stderr
    assert "set CLEARYEAR_PLUGINS=plugged where the windows are computed" in done.stderr


@pytest.mark.parametrize("name", ["mean", "a.b.c", ":Mine", "plugged:", "a/b:C", "../x:C", "a b:C", "plugged:Mine:x"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InputError, match=r"or a plug-in's package\.module:Class"):
        get_reducer(name)
    with pytest.raises(InputError, match="reducer = "):
        make_job({"scenes": "s", "out": "o", "reducer": name})


@pytest.mark.parametrize("name", ["plugged:Nothing", "other.module:Mine"])
def test_what_cannot_be_imported(plugged: Callable[..., str], name: str) -> None:
    plugged()
    with pytest.raises(InputError, match=f"The reducer {name} cannot be imported"):
        get_reducer(name)


def test_options_it_has_not(plugged: Callable[..., str]) -> None:
    name = plugged()
    with pytest.raises(InputError, match=r"plugged:Mine cannot take {'depth': 3}"):
        get_reducer(name, {"depth": 3})


def test_its_place_and_version_are_in_the_fingerprint(scenes: Path, plugged: Callable[..., str]) -> None:
    def fingerprint(name: str) -> str:
        plan = make_plan(Job(scenes=str(scenes), out="/nowhere", period="2023", reducer=name, tile_size=32))
        assert (plan.product.name, plan.product.reducer) == ("least", name)
        return plan.fingerprint(plan.windows[0])

    first, again, other = (fingerprint(plugged(version=version)) for version in (1, 1, 2))
    sys.modules["plugged"].Moved = Least  # type: ignore[attr-defined]
    assert first == again != other
    assert fingerprint("plugged:Moved") not in (first, other)


# -- what a plug-in may do wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "../up"}, "has name = '../up'. Wanted: a name for files"),
        ({"name": "média"}, "has name = 'média'. Wanted: a name for files"),
        ({"version": "1"}, "has version = '1'. Wanted: a whole number"),
        ({"version": True}, "has version = True"),
        ({"layers": ("count", "composite")}, "has layers = ('count', 'composite')"),
        ({"layers": ("composite",)}, "count among them"),
        ({"layers": ("composite", "count", "visual")}, "none of plan, preview"),
        ({"layers": ("composite", "count", "a/b")}, "names of lower-case letters"),
        ({"layers": 3}, "has layers = 3"),
        ({"whole_samples": "no"}, "has whole_samples = 'no'"),
        ({"default_nodata": ("0",)}, "has default_nodata = ('0',). Wanted: numbers"),
        ({"reduce": None}, "has reduce = None. Wanted: a method"),
    ],
)
def test_attributes_of_another_kind(plugged: Callable[..., str], changes: dict[str, Any], says: str) -> None:
    name = plugged(**changes)
    with pytest.raises(InputError) as caught:
        get_reducer(name)
    assert str(caught.value).startswith(f"The reducer {name} ")
    assert says in str(caught.value)


def test_a_class_that_is_no_reducer(plugged: Callable[..., str]) -> None:
    plugged()
    sys.modules["plugged"].Other = type("Other", (), {})  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"The reducer plugged:Other has no name\. Wanted: a name for files"):
        get_reducer("plugged:Other")


def returns(**layers: Any) -> Any:
    return lambda self, stack, *a, **k: layers


GOOD: dict[str, Any] = {"composite": np.zeros((2, 4, 5), np.uint8), "count": np.zeros((2, 4, 5), np.uint16)}


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (
            {**GOOD, "count": GOOD["count"][:1]},
            "returned uint16 (1, 4, 5) as its layer count. Wanted: uint16 (2, 4, 5)",
        ),
        ({**GOOD, "composite": GOOD["count"]}, "returned uint16 (2, 4, 5) as its layer composite. Wanted: uint8"),
        ({**GOOD, "composite": None}, "returned NoneType as its layer composite"),
        ({"composite": GOOD["composite"]}, "returned the layers composite. Wanted: composite, count"),
        ({**GOOD, "more": GOOD["count"]}, "returned the layers composite, count, more. Wanted: composite, count"),
    ],
)
def test_layers_of_another_shape_or_type(plugged: Callable[..., str], layers: dict[str, Any], says: str) -> None:
    name = plugged(reduce=returns(**layers))
    with pytest.raises(InputError) as caught:
        reduce(name)
    assert str(caught.value).startswith(f"The reducer {name} {says}")


def test_no_layers_at_all(plugged: Callable[..., str]) -> None:
    with pytest.raises(InputError, match=r"returned list\. Wanted: a dict of layers"):
        reduce(plugged(reduce=lambda self, *a, **k: []))


@pytest.mark.parametrize("kind", [None, {"n_bands": 1}, LayerKind(n_bands=1, dtype="bool", nodata=None, title="t")])
def test_a_kind_that_is_none(plugged: Callable[..., str], kind: Any) -> None:
    reducer = get_reducer(plugged(kind=lambda self, layer, inputs: kind))
    with pytest.raises(InputError, match=r"plugged:Mine says of its layer count: .* Wanted: a LayerKind"):
        reducer.kind("count", Inputs(dtype="uint8", nodata=0.0, band_names=("",)))


def test_an_exception_is_the_plug_ins(plugged: Callable[..., str]) -> None:
    def fails(self: Any, stack: Any, *_: Any, **__: Any) -> Any:
        return stack.samples[0] / self.nothing

    with pytest.raises(ClearyearError, match=r"plugged:Mine failed in reduce \(AttributeError: .*nothing"):
        reduce(plugged(reduce=fails))


def test_the_stack_is_not_its_to_change(plugged: Callable[..., str]) -> None:
    def spoils(self: Any, stack: Any, *_: Any, **__: Any) -> Any:
        del self
        stack.samples[:] = 0

    with pytest.raises(ClearyearError, match=r"failed in reduce .*read-only"):
        reduce(plugged(reduce=spoils))


def test_a_window_is_not_written(scenes: Path, tmp_path: Path, plugged: Callable[..., str]) -> None:
    with pytest.raises(InputError, match="returned the layers composite"):
        finished(scenes, tmp_path / "out", reducer=plugged(reduce=returns(composite=GOOD["composite"])))
    plan = find_plan(str(tmp_path / "out"))
    assert not any(status.is_done for status in check_plan(plan, open_store(plan.destination)))
    assert not list(Path(plan.destination).glob("tiles/*"))


def test_what_is_inherited(plugged: Callable[..., str]) -> None:
    reducer = get_reducer(plugged())
    inputs = Inputs(dtype="int16", nodata=-1.0, band_names=("a", "b"))
    reducer.check(n_bands=5, dtype="complex64", n_scenes=1)
    assert reducer.kind("count", inputs) == usual_kind("count", inputs, whole_samples=False)
    assert reducer.scratch_bytes(n_scenes=10, n_bands=2, dtype="uint8", n_pixels=100) == 48_000
    assert reducer.core_seconds(n_scenes=10, n_bands=2, n_pixels=100, wanted=()) == 0
    assert set(reduce("plugged:Mine")) == {"composite", "count"}
