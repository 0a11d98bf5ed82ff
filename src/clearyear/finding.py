"""From a job to its scenes: whichever source it names."""

from clearyear.job import Job
from clearyear.periods import Period
from clearyear.scenes import find_scenes
from clearyear.scenes.scene import Found


def find(job: Job, period: Period) -> Found:
    """The scenes a job means, taken within ``period``.

    Raises:
        InputError: there are none, or the source cannot be used.
    """
    return Found(scenes=tuple(find_scenes(job.scenes, pattern=job.pattern, period=period)))
