"""A year of cloudy satellite scenes in, one clear picture out, proven complete.

The core: plain functions over arrays, files and plans. It never imports Prefect; `tasks` and `flows` do.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
