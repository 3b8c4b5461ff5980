"""A paper that can be run: options in, finished models out."""

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

from covidcxr import interruption
from covidcxr.errors import OptionError
from covidcxr.papers.plan import RunOptions, options_from, settle
from covidcxr.papers.reporting import recipe_page, show
from covidcxr.papers.running import caching, kept, lock
from covidcxr.papers.running import folder as run_folder
from covidcxr.papers.running.images import Gatherer


@dataclass(frozen=True)
class Paper:
    """A paper that can be run.

    Attributes
    ----------
    recipe : covidcxr.papers.recipe.Recipe
    """

    recipe: object

    def run(self, **options):
        """Train and score the paper's models.

        Parameters
        ----------
        **options
            Fields of :class:`covidcxr.papers.plan.RunOptions`.

        Returns
        -------
        covidcxr.papers.reporting.results.RunResult, covidcxr.papers.running.study.StudyResult or None
            With `history`, `predictions`, `metrics`, `model`, `folder` and a table of results; the second where
            the options choose several models. None in a worker that is not the chief.

        Raises
        ------
        CovidcxrError
            If an option, the data, the weights or the run folder cannot be used, or another run is at work there;
            nothing is trained then.
        """
        return _run(self.recipe, _options(options))

    def dry_run(self, **options):
        """Tell what a run would do, and what it would cost; nothing is trained or written.

        Parameters
        ----------
        **options
            As for :meth:`run`.

        Returns
        -------
        covidcxr.papers.dry_run.DryRun
        """
        from covidcxr.papers.dry_run import describe

        return describe(settle(self.recipe, _options(options)))

    def print(self):
        """Print recipe, deviations and claims."""
        recipe_page.print_recipe(self.recipe)

    def __repr__(self):
        return f"<covidcxr paper {self.recipe.key}: {self.recipe.title}>"


def _options(values):
    known = {field.name for field in dataclasses.fields(RunOptions)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise OptionError(f"unknown option '{unknown[0]}' (options: {', '.join(sorted(known))})")
    return RunOptions(**values)


def _run(recipe, options):
    if options.resume and not options.out:
        raise OptionError("--resume needs --out DIR, the folder of the run to go on with")
    if options.resume:
        run_folder.check(options.out, overwrite=False, resume=True)
        options = _stored_options(recipe, options)
    plans = settle(recipe, options)
    out = plans[0].out if len(plans) == 1 else str(Path(plans[0].out).parents[1])
    caching.check(options.cache)
    placement = _place(options)
    if placement.is_chief:
        return _carry_out_alone(plans, options, out, placement)
    with tempfile.TemporaryDirectory(prefix="covidcxr-worker-") as elsewhere:
        return _carry_out(plans, options, out, elsewhere, placement)


def _carry_out_alone(plans, options, out, placement):
    """Carry plans out where no other run is at work."""
    # First without a trace, so that what is refused leaves none.
    lock.refuse_busy(out)
    run_folder.check(out, overwrite=options.overwrite, resume=options.resume)
    with lock.held(out, say=show.step):
        # Another run may have begun and ended since.
        run_folder.check(out, overwrite=options.overwrite, resume=options.resume)
        progress = kept.Progress(plans[0].recipe.key, out, options.resume)
        with interruption.tells(progress.line):
            return _carry_out(plans, options, out, out, placement)


def _carry_out(plans, options, out, workspace, placement):
    from covidcxr.papers.running.single import run_one
    from covidcxr.papers.running.study import run_study

    gatherer = Gatherer(workspace, say=show.step)
    if len(plans) == 1:
        return run_one(plans[0], gatherer, placement)
    return run_study(plans, options, out, gatherer, placement)


def _place(options):
    from covidcxr.training.strategy import place

    placement = place(options.strategy, options.precision)
    interruption.rearm()
    return placement


def _stored_options(recipe, options):
    """Resume with the options that the run was started with: others would make another run."""
    config = run_folder.read_config(options.out)
    if config["paper"] != recipe.key:
        raise OptionError(f"{options.out}: holds a run of {config['paper']}, not of {recipe.key}")
    stored = options_from(config["options"], Path(options.out) / run_folder.CONFIG)
    stored = dataclasses.replace(stored, out=options.out, overwrite=options.overwrite, resume=True)
    unset = RunOptions()
    # A run may go on elsewhere: what it computes does not hang on where, nor on where its images are kept.
    for name in ("strategy", "cache"):
        if getattr(options, name) != getattr(unset, name):
            stored = dataclasses.replace(stored, **{name: getattr(options, name)})
    free = ("overwrite", "strategy", "cache")
    for name, value in dataclasses.asdict(options).items():
        if name not in free and value not in (getattr(unset, name), getattr(stored, name)):
            raise OptionError(
                f"--{name.replace('_', '-')} {value}: the run in {options.out} was started with "
                f"{getattr(stored, name)}; leave the option out, or train anew in another folder"
            )
    return stored
