"""`python -m covidcxr` is the command `covidcxr`."""

import sys

from covidcxr.cli import main

sys.exit(main())
