"""Optimisers as data: what a paper names, built only when a run compiles its model."""

from dataclasses import dataclass, field

from covidcxr.errors import OptionError

NAMES = ("adam", "nadam", "rmsprop", "sgd")


@dataclass(frozen=True)
class OptimizerSpec:
    """One optimiser with its learning rate and whatever else the paper fixes.

    Attributes
    ----------
    name : str
        One of :data:`NAMES`, with Keras 3's meaning. Adam and RMSprop of the papers' time (tf.keras 2.x)
        had the same defaults (epsilon 1e-7, rho 0.9, betas 0.9 and 0.999).
    learning_rate : float
    arguments : dict
        Further keyword arguments of the Keras class, such as ``{"momentum": 0.9}``.
    """

    name: str
    learning_rate: float
    arguments: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.name not in NAMES:
            raise OptionError(f"unknown optimiser '{self.name}'; choose one of {', '.join(NAMES)}")
        if not self.learning_rate > 0:
            raise OptionError(f"learning rate {self.learning_rate} is not above 0")

    def build(self):
        """Return a fresh `keras.optimizers.Optimizer`."""
        import keras

        classes = {
            "adam": keras.optimizers.Adam,
            "nadam": keras.optimizers.Nadam,
            "rmsprop": keras.optimizers.RMSprop,
            "sgd": keras.optimizers.SGD,
        }
        return classes[self.name](learning_rate=self.learning_rate, **self.arguments)
