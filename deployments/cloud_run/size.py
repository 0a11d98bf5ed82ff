"""Job variables for a run, from its plan: vCPU, memory and windows at once, as flags of `prefect deployment run`.

    python deployments/cloud_run/size.py job.yaml
    prefect deployment run 'median-composite/on-demand-cloud-run' -p job="$(cat job.json)" \
      $(python deployments/cloud_run/size.py job.json)

Takes the same job, file or flags, as `clearyear plan`, and reads the scenes' headers as that does. Windows at once are
the job's `workers`, two where it says nothing. With --shards it is the size of a job that computes windows only, and
leaves the mosaic to the run that sent it.
"""

import sys
from typing import Any

import click

from clearyear.errors import ClearyearError
from clearyear.options import job_options, read_job
from clearyear.prepare import make_plan
from clearyear.sizing import job_size


@click.command(help=__doc__)
@click.option("--shards", is_flag=True, help="The size of a job that computes windows only.")
@job_options
def main(job_file: str | None, shards: bool, **flags: Any) -> None:
    """Print the flags on one line."""
    try:
        job = read_job(job_file, flags)
        size = job_size(make_plan(job), workers=job.workers or 2, joins=not shards, memory_limit=job.memory_limit)
    except ClearyearError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    # A number is put in quotes of JSON: Prefect's command line would make it a number, and the pool wants text.
    texts = {name: f'"{value}"' if value.isdecimal() else value for name, value in size.job_variables().items()}
    click.echo(" ".join(f"--job-variable {name}={text}" for name, text in texts.items()))


if __name__ == "__main__":
    sys.exit(main())
