"""Prefect tasks: one call into the core each. Retries, caching, timeouts and tags live here and nowhere else."""

from tasks import logs

logs.install()
