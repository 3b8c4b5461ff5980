"""Where a model trains: one device, all of one machine, several machines, a TPU; and in which precision."""

import contextlib
import os
from dataclasses import dataclass, replace

from covidcxr import json_files
from covidcxr.errors import OptionError

STRATEGIES = ("auto", "single", "mirrored", "multiworker", "tpu")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
AUTO = "auto"

# A worker that is alive and does not answer would hold up the others for ever. Long enough for a chief that
# saves to a slow disk while the others wait for it.
_PATIENCE_SECONDS = 600

_EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Placement:
    """Where and how a run trains; made by :func:`place`.

    Attributes
    ----------
    name : str
        ``"single"``, ``"mirrored"``, ``"multiworker"`` or ``"tpu"``.
    precision : str
        One of :data:`PRECISIONS`, or ``"auto"`` until :meth:`for_network` settles it.
    strategy : tf.distribute.Strategy or None
        None on a single device.
    shard : covidcxr.data.batches.Shard or None
        This process's part of every batch, for the batches that :meth:`fit` gets; None on a single device.
    is_chief : bool
        Whether this process writes the run folder: of several workers, one does.
    """

    name: str
    precision: str
    strategy: object | None
    shard: object | None
    is_chief: bool

    @property
    def replicas(self):
        """Copies of the model that share a batch, on all workers."""
        return self.shard.replicas if self.shard else 1

    def for_network(self, backbone, begun_with=None):
        """Return the placement with its precision settled, where that was left to what is fastest.

        Parameters
        ----------
        backbone : str
            Key of :mod:`covidcxr.models.backbones`.
        begun_with : str, optional
            The precision of a run that goes on: it stays, whatever machine this is.

        Returns
        -------
        Placement
        """
        if self.precision != AUTO:
            return self
        from covidcxr.training.tuning import precision_for

        measured = precision_for(backbone) if self.strategy is None else "float32"
        return replace(self, precision=begun_with or measured)

    @contextlib.contextmanager
    def scope(self):
        """Build, load and compile models, and make their optimisers, for this placement inside the block.

        Keras' global dtype policy is `precision` meanwhile, and is restored after it.

        Raises
        ------
        CovidcxrError
            If another worker of the run was lost: workers exchange the values of new variables too.
        """
        import keras

        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.precision)
        try:
            with self._guard(), self.strategy.scope() if self.strategy else contextlib.nullcontext():
                yield
        finally:
            keras.config.set_dtype_policy(before)

    def fit(self, model, training, validation, *, steps_per_epoch, initial_epoch, epochs, callbacks=()):
        """Train as `keras.Model.fit` does.

        A single device has Keras' own `fit`, with batch normalization fused where that is faster (see
        :mod:`covidcxr.training.tuning`); the others :func:`covidcxr.training.distributed.fit`.

        Parameters
        ----------
        model : keras.Model
            Built and compiled in :meth:`scope`, with one loss and accuracy as its metric.
        training, validation : covidcxr.data.batches.Batches
            Made with `shard`; `validation` may be None.
        steps_per_epoch, initial_epoch, epochs : int
            As Keras'.
        callbacks : sequence of keras.callbacks.Callback

        Returns
        -------
        keras.callbacks.History

        Raises
        ------
        CovidcxrError
            If another worker of the run was lost.
        """
        if self.strategy is not None:
            from covidcxr.training import distributed

            with self._guard():
                return distributed.fit(
                    self.strategy,
                    model,
                    training,
                    validation,
                    steps_per_epoch=steps_per_epoch,
                    initial_epoch=initial_epoch,
                    epochs=epochs,
                    callbacks=callbacks,
                )
        from covidcxr.models.fused_batchnorm import fused_batchnorm

        with fused_batchnorm(model):
            return model.fit(
                training.dataset,
                validation_data=validation.dataset if validation else None,
                steps_per_epoch=steps_per_epoch,
                initial_epoch=initial_epoch,
                epochs=epochs,
                callbacks=list(callbacks),
                # The stream is shuffled already; Keras would warn that it cannot.
                shuffle=False,
                verbose=0,
            )

    def plain_copy(self, model):
        """Return the model as an ordinary one, which predicts and saves without any strategy.

        Parameters
        ----------
        model : keras.Model
            Trained with this placement. Its layers keep their dtype policies.

        Returns
        -------
        keras.Model
            Not compiled, with the same weights; on a single device `model` itself. Call it outside
            :meth:`scope`.
        """
        if self.strategy is None:
            return model
        copy = type(model).from_config(model.get_config())
        copy.set_weights(model.get_weights())
        return copy

    def describe(self):
        """Return the placement as plain values, for `config.json`."""
        return {
            "strategy": self.name,
            "replicas": self.replicas,
            "devices": self._devices(),
            "precision": self.precision,
        }

    def _guard(self):
        if self.name != "multiworker":
            return contextlib.nullcontext()
        from covidcxr.training.distributed import lost_workers

        return lost_workers()

    def _devices(self):
        import tensorflow as tf

        if self.strategy is not None:
            return list(self.strategy.extended.worker_devices)
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return [devices[0].name]


def place(strategy="auto", precision="float32"):
    """Choose where a run trains. Call it before anything else touches TensorFlow: workers must find each other first.

    Parameters
    ----------
    strategy : str
        ``"auto"``: several workers where `TF_CONFIG` names them, else all GPUs of this machine where it has
        more than one, else a single device. ``"single"``; ``"mirrored"``: all GPUs, or all logical CPUs
        where there is none (one device makes one replica); ``"multiworker"``: the workers in `TF_CONFIG`,
        each with all its GPUs; ``"tpu"``: the TPU of this virtual machine.
    precision : str
        One of :data:`PRECISIONS`: the dtype policy of models built in :meth:`Placement.scope`. ``"auto"`` waits for
        :meth:`Placement.for_network`.

    Returns
    -------
    Placement

    Raises
    ------
    OptionError
        If a name is unknown, `TF_CONFIG` cannot be used as asked or there is no TPU.
    """
    _check("strategy", strategy, STRATEGIES)
    _check("precision", precision, (AUTO, *PRECISIONS))
    cluster = _cluster(os.environ.get("TF_CONFIG")) if strategy in ("auto", "multiworker") else None
    if strategy == "multiworker" and cluster is None:
        raise OptionError(
            f"strategy multiworker: TF_CONFIG names no cluster; set it for each worker, such as {_EXAMPLE}"
        )
    name = _chosen(cluster) if strategy == "auto" else strategy
    makers = {"single": lambda: None, "mirrored": _mirrored, "multiworker": _multiworker, "tpu": _tpu}
    made = makers[name]()
    is_chief = cluster.is_chief if name == "multiworker" else True
    return Placement(name, precision, made, _shard(made) if made else None, is_chief)


def _check(option, value, names):
    if value not in names:
        raise OptionError(f"unknown {option} '{value}'; choose one of {', '.join(names)}")


@dataclass(frozen=True)
class _Cluster:
    workers: int
    is_chief: bool


def _cluster(text):
    """Return what TF_CONFIG says, or None where it names no cluster."""
    if not text:
        return None
    try:
        config = json_files.parse(text)
        jobs = config.get("cluster") or {}
        if not jobs:
            return None
        return _read_cluster(jobs, config["task"]["type"], int(config["task"]["index"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise OptionError(
            f"TF_CONFIG cannot be used ({reason}); set it such as {_EXAMPLE}, or give --strategy single"
        ) from None


def _read_cluster(jobs, kind, index):
    unknown = sorted(set(jobs) - {"chief", "worker"})
    if unknown:
        raise ValueError(f"its cluster has '{unknown[0]}'; only chief and worker are known")
    if kind not in jobs or not 0 <= index < len(jobs[kind]):
        raise ValueError(f"its task, {kind} {index}, is not in its cluster")
    workers = sum(len(addresses) for addresses in jobs.values())
    return _Cluster(workers, kind == "chief" or ("chief" not in jobs and index == 0))


def _chosen(cluster):
    import tensorflow as tf

    if cluster is not None and cluster.workers > 1:
        return "multiworker"
    return "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "single"


def _mirrored():
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multiworker():
    import tensorflow as tf

    from covidcxr.training.distributed import lost_workers

    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=_PATIENCE_SECONDS)
    with lost_workers():
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def _tpu():
    import tensorflow as tf

    # The images are read by Python on the machine that holds the TPU: one behind a network cannot call it.
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise OptionError(
            "strategy tpu: no TPU found on this machine; run on a TPU virtual machine with TensorFlow for TPUs, "
            "or choose another strategy"
        ) from error


def _shard(strategy):
    from covidcxr.data.batches import Shard

    own = []
    strategy.experimental_distribute_values_from_function(
        lambda context: own.append(int(context.replica_id_in_sync_group)) or 0
    )
    return Shard(strategy.num_replicas_in_sync, min(own), len(own))
