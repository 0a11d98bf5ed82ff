"""The verb that converts images one by one."""

import click

from clearyear import console
from clearyear.options import verb


@click.command()
@click.argument("source", metavar="FILE.tif|FOLDER|LIST.csv")
@click.option("--out", default="converted", help="Where COGs and JPEGs go: a folder or prefix.  [default: converted]")
@click.option("--bands", default="", help="How many bands an image has (3), or which to show (4,3,2).")
@click.option("--jpeg/--no-jpeg", default=True, help="Make a full-size JPEG of each, too.  [default: yes]")
@click.option("--compress", default="lzw", help="The COG's: lzw, deflate or zstd.  [default: lzw]")
@click.option("--workers", type=click.IntRange(min=1), help="Images converted at once.  [default: one a core]")
@verb
def convert(source: str, out: str, bands: str, jpeg: bool, compress: str, workers: int | None, as_json: bool) -> int:
    """Convert GeoTIFFs to COGs and full-size JPEGs.

    A COG counts only if every sample, mask, nodata value and georeference read back from it is the source's. What of
    this version of an image is there already, byte for byte, is not made again.
    """
    from clearyear.convert.record import make_options
    from clearyear.convert.rows import find_rows, parse_bands
    from clearyear.convert.run import convert_all, outcome
    from clearyear.settings import current_settings
    from clearyear.stores import check_destination

    check_destination(out)
    options = make_options(compress=compress, jpeg=jpeg)
    rows = find_rows(source, out, parse_bands(bands))
    with console.progress_bar():
        results = convert_all(rows, out, options, workers=workers or current_settings().workers)
    found = outcome(results, out)
    if as_json:
        console.print_json(found)
    else:
        console.print_converted(found)
    return 3 if found["failed"] else 0
