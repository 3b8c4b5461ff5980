"""Optimisers as data: what a paper names, built only when a run compiles its model."""

from dataclasses import dataclass, field

from covidcxr.errors import OptionError

NAMES = ("adam", "legacy_nadam", "legacy_rmsprop", "nadam", "rmsprop", "sgd")


@dataclass(frozen=True)
class OptimizerSpec:
    """One optimiser with its learning rate and whatever else the paper fixes.

    Attributes
    ----------
    name : str
        One of :data:`NAMES`. Plain names have Keras 3's meaning, which for Adam and SGD is also that of the
        papers' time; Nadam and RMSprop have changed since, and ``legacy_`` names the old ones (see
        :mod:`covidcxr.training.legacy_optimizers`). Defaults are equal throughout: epsilon 1e-7, rho 0.9,
        betas 0.9 and 0.999.
    learning_rate : float
    arguments : dict
        Further keyword arguments of the Keras class, such as ``{"momentum": 0.9}``.
    decay : float
        The argument of that name of the papers' time: at step t, from 0, the rate is
        ``learning_rate / (1 + decay * t)``. Not for ``legacy_nadam``, whose `decay` was another thing, its
        argument `schedule_decay`.

    Raises
    ------
    OptionError
        If a value has no meaning.
    """

    name: str
    learning_rate: float
    arguments: dict = field(default_factory=dict)
    decay: float = 0.0

    def __post_init__(self):
        if self.name not in NAMES:
            raise OptionError(f"unknown optimiser '{self.name}'; choose one of {', '.join(NAMES)}")
        if not self.learning_rate > 0:
            raise OptionError(f"learning rate {self.learning_rate} is not above 0")
        if not self.decay >= 0:
            raise OptionError(f"decay {self.decay} of the learning rate is below 0")
        if self.decay and self.name == "legacy_nadam":
            raise OptionError(
                "legacy_nadam has no decay of the learning rate; set its argument schedule_decay"
            )

    def build(self):
        """Return a fresh `keras.optimizers.Optimizer`."""
        import keras

        from covidcxr.training.legacy_optimizers import LegacyNadam, LegacyRMSprop

        classes = {
            "adam": keras.optimizers.Adam,
            "legacy_nadam": LegacyNadam,
            "legacy_rmsprop": LegacyRMSprop,
            "nadam": keras.optimizers.Nadam,
            "rmsprop": keras.optimizers.RMSprop,
            "sgd": keras.optimizers.SGD,
        }
        rate = float(self.learning_rate)
        if self.decay:
            schedules = keras.optimizers.schedules
            rate = schedules.InverseTimeDecay(rate, decay_steps=1, decay_rate=self.decay)
        return classes[self.name](learning_rate=rate, **self.arguments)
