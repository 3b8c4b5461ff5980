"""The numbers of a run's audits that stand beside its results; their texts, which name patients, stay with the run."""

import pandas as pd

from covidcxr.evaluation.audits.report import LEAK, NOTE
from covidcxr.papers.reporting.reproduction import store

BORDER = "border"
ROC_AREA = "roc_auc"
LEAKS, SHORTCUTS, ROBUSTNESS = "leaks", "shortcuts", "robustness"
PAIRS = "across_parts"
FOUND = "findings"


def rows(run, audits):
    """List what stands in audits.csv of one run.

    Parameters
    ----------
    run : str
        Its name.
    audits : sequence of covidcxr.evaluation.audits.report.Audit

    Returns
    -------
    list of dict
        ROC areas of the probes of shortcuts, what lies on both sides of the split by kind, accuracy and ROC area
        of changed images, and how often anything else was found that is no mere note.
    """
    makers = {LEAKS: _leaks, SHORTCUTS: _probes, ROBUSTNESS: _changes}
    listed = []
    for audit in audits:
        own = list(makers.get(audit.name, _nothing)(audit))
        told = {row["check"].split(" ")[0] for row in own}
        own += [row for row in _others(audit) if row["check"] not in told]
        listed += [{store.RUN: run, "audit": audit.name, **row} for row in own]
    return listed


def _probes(audit):
    table = audit.tables.get("probes", pd.DataFrame())
    for row in table.to_dict("records"):
        yield {
            "check": row["probe"],
            "severity": row.get("flag"),
            "measure": ROC_AREA,
            "label": row["class"],
            "value": row["roc_auc"],
            "low": row["roc_auc_low"],
            "high": row["roc_auc_high"],
            "images": row["images"],
            "patients": row["patients"],
        }


def _leaks(audit):
    table = audit.tables.get("checks", pd.DataFrame())
    for row in table.to_dict("records"):
        if pd.notna(row["across_parts"]):
            count = int(row["across_parts"])
            severity = LEAK if count else ""
            yield {"check": row["check"], "severity": severity, "measure": PAIRS, "value": count}


def _changes(audit):
    for item in audit.findings:
        facts = item.evidence
        for measure in ("accuracy", ROC_AREA):
            if facts.get(measure) is not None and facts.get("change"):
                yield {
                    "check": f"{facts['change']} {facts.get('level', '')}".strip(),
                    "severity": item.severity,
                    "measure": measure,
                    "value": facts[measure],
                    "low": facts.get(f"{measure}_low"),
                    "high": facts.get(f"{measure}_high"),
                    "images": facts.get("images"),
                }


def _others(audit):
    counts = {}
    for item in audit.findings:
        if item.severity != NOTE:
            counts[item.name, item.severity] = counts.get((item.name, item.severity), 0) + 1
    for (name, severity), count in counts.items():
        yield {"check": name, "severity": severity, "measure": FOUND, "value": count}


def _nothing(audit):
    return ()
