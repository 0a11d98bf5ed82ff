"""The command line in this process, and a run for it to find."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from clearyear.cli import main
from clearyear.plan import Plan

CONTRACT = {
    *("status", "mosaic", "expected", "ok", "missing", "invalid", "stale", "empty", "failed_reads", "report"),
    *("stac_item", "layers"),
}


def clearyear(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def last_json(result: Result) -> dict[str, Any]:
    """The last thing on stdout is one JSON object on a line of its own; here it is all there is."""
    assert result.stdout.endswith("}\n")
    assert result.stdout.count("\n") == 1
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def damage(plan: Plan) -> None:
    """Window 1 deleted, window 5 damaged in one byte, window 7 cut short."""
    tiles = [Path(plan.destination) / plan.tile_name(w) for w in plan.windows]
    tiles[1].unlink()
    data = bytearray(tiles[5].read_bytes())
    data[len(data) // 2] ^= 255
    tiles[5].write_bytes(data)
    tiles[7].write_bytes(tiles[7].read_bytes()[:100])
