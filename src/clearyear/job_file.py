"""A job from a YAML file."""

from pathlib import Path
from typing import Any

import yaml

from clearyear.errors import InputError
from clearyear.job import Job, make_job


def load_job(path: str, **overrides: Any) -> Job:
    """A job from a YAML file; what is given beside it wins.

    Raises:
        InputError: the file cannot be read, or a key is unknown or has a wrong value.
    """
    try:
        document = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise InputError(
            f"The job file {path} cannot be read ({error.strerror})", "a YAML file", "correct the path"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        words = " ".join(str(error).split())
        raise InputError(f"The job file {path} is not YAML ({words})", "keys and values", "correct it") from error
    if not isinstance(document, dict):
        raise InputError(f"The job file {path} holds no keys", "scenes: …, out: …, period: …", "write them")
    # Of a key with keys of its own, such as stac, what is given beside the file replaces those it names.
    inner = {
        k: {**document[k], **v}
        for k, v in overrides.items()
        if isinstance(v, dict) and isinstance(document.get(k), dict)
    }
    return make_job({**document, **overrides, **inner}, where=f"the job file {path}")
