"""The plan as a value: JSON in and out, what makes it another plan, its names, and what a window costs."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from clearyear.display import Display
from clearyear.errors import InputError
from clearyear.grid import Grid
from clearyear.job import make_job
from clearyear.naming import period_name
from clearyear.periods import parse_period
from clearyear.plan import Plan, Product
from clearyear.reducers import REDUCERS
from clearyear.scenes import Scene
from clearyear.views import windows_csv


def scene(day: int, **changes: Any) -> Scene:
    values = {"id": f"s{day}", "datetime": datetime(2023, 1, day, tzinfo=UTC), "assets": {"data": f"/d/s{day}.tif"}}
    return Scene.model_validate({**values, "version": f"v{day}", "size": 1000 * day, **changes})


SCENES = (scene(1), scene(2), scene(3))
PRODUCT = Product(
    name="luminance-median",
    reducer="luminance-median",
    layers=("composite", "count"),
    n_bands=3,
    dtype="uint8",
    band_names=("red", "green", "blue"),
    invalid_values=(0.0, 255.0),
    nodata=0.0,
)
GRID = Grid(crs="EPSG:32631", transform=(10, 0, 300000, 0, -10, 4900020), width=50, height=40, block=(16, 16))
PLAN = Plan(
    product=PRODUCT, period=parse_period("2023"), scenes=SCENES, grid=GRID, tile_size=16, destination="/out/p/2023--P1Y"
)
WINDOW = PLAN.windows[0]


def changed(**changes: Any) -> Plan:
    """PLAN with other values; a name with a double underscore reaches into product or grid."""
    for name in [n for n in changes if "__" in n]:
        part, _, key = name.partition("__")
        changes[part] = changes.get(part, getattr(PLAN, part)).model_copy(update={key: changes.pop(name)})
    return PLAN.model_copy(update=changes)


# -- JSON ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [PLAN, changed(period=parse_period("all"), max_failed_reads=2, min_completeness=0.5)])
def test_survives_json(plan: Plan) -> None:
    again = Plan.from_json(plan.to_json(), destination=plan.destination)
    assert again == plan
    assert (again.id, again.digest) == (plan.id, plan.digest)
    assert [again.fingerprint(w) for w in again.windows] == [plan.fingerprint(w) for w in plan.windows]


def test_survives_json_with_nodata_nan() -> None:
    plan = changed(product__nodata=float("nan"), product__dtype="float32", product__reducer="band-median")
    again = Plan.from_json(plan.to_json())
    assert again.product.nodata is not None
    assert np.isnan(again.product.nodata)
    assert (again.id, again.digest) == (plan.id, plan.digest)


def test_destination_is_no_part_of_the_file() -> None:
    assert "/out/p" not in PLAN.to_json()
    assert Plan.from_json(PLAN.to_json(), destination="/elsewhere").destination == "/elsewhere"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("[]", "it is not a JSON object"),
        ("{}", "product\n  Field required"),
        ('{"id": "x", "scenes": 3}', "scenes\n  Input should be a valid tuple"),
        (PLAN.to_json().replace("tile_size", "tilesize"), "tilesize\n  Extra inputs are not permitted"),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
    ],
)
def test_what_is_no_plan_is_a_value_error(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Plan.from_json(text)


def test_no_plan_has_windows_without_end() -> None:
    document = json.loads(PLAN.to_json())
    del document["id"]
    document["grid"] |= {"width": 1001, "height": 1000}
    with pytest.raises(InputError, match="which is 1,001,000 windows"):
        Plan.from_json(json.dumps({**document, "tile_size": 1}))


def test_plan_altered_by_hand_is_refused() -> None:
    document = json.loads(PLAN.to_json())
    document["tile_size"] = 32
    with pytest.raises(ValueError, match="its id does not agree with its content"):
        Plan.from_json(json.dumps(document))


def test_plan_of_another_algorithm_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = PLAN.to_json()
    monkeypatch.setattr(REDUCERS["luminance-median"], "version", 2)
    with pytest.raises(ValueError, match="another version of an algorithm"):
        Plan.from_json(text)


# -- what makes another plan, and another window -----------------------------------------------------------------

PIXELS_CHANGE = {
    "a scene's version": {"scenes": (scene(1, version="v9"), *SCENES[1:])},
    "a scene's name": {"scenes": (scene(1, id="other"), *SCENES[1:])},
    "a scene's time": {"scenes": (scene(1, datetime=datetime(2023, 1, 1, 1, tzinfo=UTC)), *SCENES[1:])},
    "a scene's address": {"scenes": (scene(1, assets={"data": "/e/s1.tif"}), *SCENES[1:])},
    "the scenes' order": {"scenes": SCENES[::-1]},
    "one scene less": {"scenes": SCENES[:2]},
    "the reducer": {"product__reducer": "band-median"},
    "the layers": {"product__layers": ("composite",)},
    "the bands": {"product__n_bands": 4},
    "the dtype": {"product__dtype": "uint16"},
    "band names": {"product__band_names": ("r", "g", "b")},
    "invalid values": {"product__invalid_values": (0.0,)},
    "nodata": {"product__nodata": None},
    "the CRS": {"grid__crs": "EPSG:32632"},
    "the transform": {"grid__transform": (10, 0, 300010, 0, -10, 4900020)},
    "the grid's width": {"grid__width": 51},
    "the grid's height": {"grid__height": 41},
}
FILES_CHANGE = {
    "the period": {"period": parse_period("2023-01")},
    "the tile size": {"tile_size": 48},
    "the product's name": {"product__name": "other"},
    "the mosaic's compression": {"product__compress": "lzw"},
    "a layer's compression": {"product__compress_layers": {"count": "lzw"}},
    "a file for each band": {"product__outputs": "per-band"},
    "the picture": {"product__display": Display()},
}
NOTHING_CHANGES = {
    "the destination": {"destination": "gs://elsewhere/x"},
    "failed reads allowed": {"max_failed_reads": 3},
    "completeness asked for": {"min_completeness": 0.5},
    "who made it": {"created_by": "clearyear 99"},
    "the scenes' blocks": {"grid__block": (512, 512)},
    "a scene's size": {"scenes": (scene(1, size=7), *SCENES[1:])},
    "a scene's clouds": {"scenes": (scene(1, cloud_cover=7.0), *SCENES[1:])},
}


@pytest.mark.parametrize("changes", PIXELS_CHANGE.values(), ids=PIXELS_CHANGE)
def test_what_pixels_depend_on_makes_another_fingerprint(changes: dict[str, Any]) -> None:
    plan = changed(**changes)
    assert plan.fingerprint(WINDOW) != PLAN.fingerprint(WINDOW)
    assert plan.id != PLAN.id
    assert plan.digest != PLAN.digest


def test_options_make_another_fingerprint() -> None:
    plans = [changed(product__reducer="percentiles", product__options={"percentiles": p}) for p in ([5], [50])]
    assert plans[0].fingerprint(WINDOW) != plans[1].fingerprint(WINDOW)
    assert plans[0].id != plans[1].id


@pytest.mark.parametrize("changes", FILES_CHANGE.values(), ids=FILES_CHANGE)
def test_what_only_files_depend_on_makes_another_plan(changes: dict[str, Any]) -> None:
    plan = changed(**changes)
    assert plan.fingerprint(WINDOW) == PLAN.fingerprint(WINDOW)
    assert plan.id != PLAN.id
    assert plan.digest != PLAN.digest


@pytest.mark.parametrize("changes", NOTHING_CHANGES.values(), ids=NOTHING_CHANGES)
def test_what_decides_nothing_changes_nothing(changes: dict[str, Any]) -> None:
    plan = changed(**changes)
    assert plan.fingerprint(WINDOW) == PLAN.fingerprint(WINDOW)
    assert plan.id == PLAN.id


def test_digest_knows_the_tolerance_windows_are_computed_by() -> None:
    assert changed(max_failed_reads=3).digest != PLAN.digest
    assert changed(min_completeness=0.5, destination="/e").digest == PLAN.digest


def test_algorithm_version_is_in_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = PLAN.fingerprint(WINDOW), PLAN.id
    monkeypatch.setattr(REDUCERS["luminance-median"], "version", 2)
    after = changed()
    assert before[0] != after.fingerprint(WINDOW)
    assert before[1] != after.id


def test_every_window_has_its_own_fingerprint() -> None:
    assert len({PLAN.fingerprint(w) for w in PLAN.windows}) == len(PLAN.windows) == 12
    assert PLAN.fingerprint(WINDOW) != PLAN.fingerprint(WINDOW.model_copy(update={"width": 15}))


def test_copy_with_another_tile_size_has_other_windows() -> None:
    """What a plan has worked out once must not stick to its changed copies."""
    assert len(PLAN.windows) == 12
    assert [w.id for w in changed(tile_size=48).windows] == ["x00000_y00000", "x00048_y00000"]


# -- names ---------------------------------------------------------------------------------------------------


def test_names_are_the_contract() -> None:
    plan = changed(product__name="rgb", period=parse_period("2023-06"))
    window = plan.windows[-1]
    assert plan.mosaic_name() == "rgb_2023-06--P1M.tif"
    assert plan.mosaic_name("count") == "rgb_2023-06--P1M_count.tif"
    assert plan.tile_name(window) == "tiles/rgb_2023-06--P1M_x00048_y00032.tif"
    assert plan.tile_name(window, "source") == "tiles/rgb_2023-06--P1M_x00048_y00032_source.tif"
    assert plan.record_name(window) == "tiles/rgb_2023-06--P1M_x00048_y00032.json"
    assert plan.item_name == "rgb_2023-06--P1M.stac-item.json"
    assert plan.preview_name == "rgb_2023-06--P1M_preview.jpg"


def test_windows_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(windows_csv(PLAN))))
    assert [row["id"] for row in rows] == [w.id for w in PLAN.windows]
    # 2 × 8 of 50 × 40 px, of 6,000 stored bytes.
    last = {"id": "x00048_y00032", "col_off": "48", "row_off": "32", "width": "2", "height": "8"}
    assert rows[-1] == {**last, "scenes": "3", "days": "3", "bytes_to_read": "48"}


# -- what it costs -------------------------------------------------------------------------------------------


def test_bytes_by_hand() -> None:
    assert PLAN.stack_bytes(WINDOW) == 3 * 3 * 16 * 16
    assert changed(product__dtype="float32").stack_bytes(WINDOW) == 4 * 3 * 3 * 16 * 16
    assert sum(PLAN.read_bytes(w) for w in PLAN.windows) == 6000
    assert (PLAN.kind("count").n_bands, changed(product__reducer="band-median").kind("count").n_bands) == (1, 3)


def test_plans_of_before_there_was_a_choice_are_what_they_were() -> None:
    """Digests that clearyear 0.1.0 gave: results of before stay current, whatever plans can say by now."""
    assert PLAN.id == "0ae3674e23a392f767716664b158d00853f867cc93841a70d5287c0ab5a7c2bb"
    assert PLAN.fingerprint(WINDOW) == "a9b458ad5719d7fea4677733aa964df585b5d425fe57240133dcbb0145ec8a73"
    other = changed(product__reducer="band-median")
    assert other.id == "231d894c614ccd43f131b25ff7fd5166d8619ccb00df0ad8f2e092123bd12df5"


# -- names of the user's own -----------------------------------------------------------------------------------


def test_a_name_of_its_own_is_folder_and_stem() -> None:
    named = PLAN.model_copy(update={"name": "monthly-mosaic-2023-05"})
    assert (named.folder, named.stem) == ("monthly-mosaic-2023-05", "monthly-mosaic-2023-05")
    assert named.mosaic_name("count") == "monthly-mosaic-2023-05_count.tif"
    assert named.tile_name(WINDOW).startswith("tiles/monthly-mosaic-2023-05_x")
    assert named.id != PLAN.id, "other files are written"
    assert named.fingerprint(WINDOW) == PLAN.fingerprint(WINDOW), "of the same pixels"
    assert Plan.from_json(named.to_json()).name == named.name


def test_a_plan_without_one_is_what_it_was() -> None:
    document = json.loads(PLAN.to_json())
    assert document.pop("name") == ""
    assert Plan.from_json(json.dumps(document)).id == PLAN.id == document["id"]
    assert PLAN.folder == PLAN.period.label


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "a b", "x" * 65, "a\n"])
def test_a_name_stays_in_its_folder(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Plan.from_json(json.dumps({**json.loads(PLAN.to_json()), "name": name}))


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("monthly-mosaic-{start:%Y-%m}", "monthly-mosaic-2023-06"),
        ("{product}_{period}", "rgb_2023-06--P1M"),
        ("{start}.{end}", "2023-06-01.2023-07-01"),
        ("plain", "plain"),
    ],
)
def test_a_template_names_a_period(template: str, name: str) -> None:
    assert period_name(template, product="rgb", period=parse_period("2023-06")) == name


@pytest.mark.parametrize(
    "template", ["{start:%Y/%m}", "../{period}", "{scene}", "{product:>70}", "{start.__class__}", "{", "", "{0}", "é"]
)
def test_a_template_of_another_kind_is_refused(template: str) -> None:
    with pytest.raises(InputError, match="naming"):
        period_name(template, product="rgb", period=parse_period("2023-06"))
    with pytest.raises(InputError, match="naming"):
        make_job({"scenes": "/s", "out": "/o", "naming": template})
