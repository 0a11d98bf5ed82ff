"""Months of tiles, such as the VIIRS night lights: found, fetched, joined, complete only if all are there.

The tiles of a month are one acquisition in several files that abut on one grid. Nothing is resampled.
"""
