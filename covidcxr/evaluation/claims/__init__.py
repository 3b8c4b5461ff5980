"""The papers' printed numbers as data, and the checks that hold them to arithmetic.

Modules: `printed` (the CSV files and what a printed number may stand for), `rules` (one pure function a rule), one
module a paper (which rule applies to which numbers), `findings` (the report) and `page` (its text).
"""

from covidcxr.evaluation.claims.findings import ClaimsReport, Contradiction, report
from covidcxr.evaluation.claims.printed import KEYS, Numbers, Printed, load

__all__ = ["KEYS", "ClaimsReport", "Contradiction", "Numbers", "Printed", "load", "report"]
