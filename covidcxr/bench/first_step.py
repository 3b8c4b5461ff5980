"""Run a `covidcxr` command until its first training step is done, telling on standard error when it gets where.

Started as a process of its own, ``python -m covidcxr.bench.first_step train ragab2022 --preset smoke``, by
:mod:`covidcxr.bench.parts.start`, which notes when each line comes.
"""

import os
import sys

IMPORTED = "first_step: TensorFlow imported"
DONE = "first_step: done"


def main(arguments):
    """Run the command; the process ends with its first step."""
    from covidcxr.cli import console
    from covidcxr.cli import main as command

    quietly = console.quiet_tensorflow

    def import_and_watch():
        quietly()
        _say(IMPORTED)
        _watch()

    console.quiet_tensorflow = import_and_watch
    return command(arguments)


def _watch():
    from covidcxr.training.callbacks import EpochProgress

    def end(progress, batch, logs=None):
        _say(DONE)
        os._exit(0)

    EpochProgress.on_train_batch_end = end


def _say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
