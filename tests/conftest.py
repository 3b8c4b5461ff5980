"""What tests share: where the development data lies, if anywhere."""

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
# A script that starts the tests in the background makes them, and what they start, deaf to Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared():
    """Folder with real images (data/) and ImageNet weights (weights/), named by COVIDCXR_SHARED."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("COVIDCXR_SHARED", default))
    if not (folder / "data" / "manifest.csv").is_file():
        pytest.skip("no real images: set COVIDCXR_SHARED to a folder with data/ and weights/")
    return folder
