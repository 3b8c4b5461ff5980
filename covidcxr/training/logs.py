"""TensorBoard's event files, written from the history: a resumed run neither loses nor repeats an epoch.

Names and steps are those of `keras.callbacks.TensorBoard`. It writes an epoch before the checkpoint knows of it
and leaves it in memory for up to two minutes, so that a kill would lose some epochs and resuming repeat others.
"""

from pathlib import Path

import tensorflow as tf

_NOT_MEASURES = ("epoch", "stage", "seconds")


class EventLogs:
    """The event files of one run, in `train/` and `validation/`.

    Parameters
    ----------
    folder : path-like
    """

    def __init__(self, folder):
        self._folder = Path(folder)
        self._writers = {}

    def write(self, row, iterations=None):
        """Write a finished epoch, to the disk.

        Parameters
        ----------
        row : dict
            Of the history.
        iterations : int, optional
            Steps that the optimiser has taken, against which validation is drawn too.
        """
        for part, measures in _by_part(row).items():
            self._write_part(part, row["epoch"] - 1, measures, iterations)

    def complete(self, rows):
        """Write what the event files lack of the finished epochs."""
        for part in ("train", "validation"):
            there = _logged(self._folder / part)
            for row in rows:
                epoch = row["epoch"] - 1
                measures = _by_part(row)[part].items()
                lacking = {name: value for name, value in measures if (f"epoch_{name}", epoch) not in there}
                self._write_part(part, epoch, lacking, None)
        self.close()

    def close(self):
        """Close the files; what is written afterwards goes into new ones."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _write_part(self, part, epoch, measures, iterations):
        if not measures:
            return
        if part not in self._writers:
            self._writers[part] = tf.summary.create_file_writer(str(self._folder / part))
        with self._writers[part].as_default():
            for name, value in measures.items():
                tf.summary.scalar(f"epoch_{name}", value, step=epoch)
                if part == "validation" and iterations is not None:
                    tf.summary.scalar(f"evaluation_{name}_vs_iterations", value, step=iterations)
        self._writers[part].flush()


def _by_part(row):
    measures = {name: value for name, value in row.items() if name not in _NOT_MEASURES}
    scored = {name: value for name, value in measures.items() if name.startswith("val_")}
    return {
        "train": {name: value for name, value in measures.items() if name not in scored},
        "validation": {name.removeprefix("val_"): value for name, value in scored.items()},
    }


def _logged(folder):
    """Return the names and steps that are in a folder's event files."""
    return {each for path in folder.glob("events.out.tfevents.*") for each in _logged_in(path)}


def _logged_in(path):
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            yield from ((value.tag, event.step) for value in event.summary.value)
    except tf.errors.DataLossError:
        # Killed while it was written: what stands before the torn record counts.
        return
