"""What a run would do and what it would cost, before it starts: images, models, steps, memory, time."""

from covidcxr.papers.dry_run.description import DryRun, describe

__all__ = ["DryRun", "describe"]
