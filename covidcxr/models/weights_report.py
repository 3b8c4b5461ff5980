"""What a weight file gave to a network, and which file it was."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class WeightsReport:
    """What a weight file gave to a network.

    Attributes
    ----------
    loaded, missing : tuple of str
        Layers of the network with weights from the file, and those that keep their random start (the head's
        always do).
    unused : tuple of str
        Layers of the file that the network does not have, such as the file's own classifier.
    source : str
        File name or address; ``""`` for a random start.
    sha256 : str
        Of the file (of a SavedModel: of its variables); ``""`` where there is none.
    """

    loaded: tuple
    missing: tuple
    unused: tuple
    source: str
    sha256: str


def sha256(path):
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
