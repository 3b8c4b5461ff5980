"""Reporting checklists with the answers that a run knows: CLAIM (2024 update) and TRIPOD+AI.

The wording of the items is our own and short; the checklists themselves are what a journal wants to see:
CLAIM, Tejani et al. 2024, Radiol. Artif. Intell. 6(4) e240300; TRIPOD+AI, Collins et al. 2024, BMJ 385 e078378.
"""

import csv
from importlib.resources import files

TITLES = {
    "claim": "CLAIM, 2024 update (Tejani et al., doi:10.1148/ryai.240300)",
    "tripod_ai": "TRIPOD+AI (Collins et al., doi:10.1136/bmj-2023-078378)",
}
OPEN = "to be filled in by the authors"
COLUMNS = ("item", "section", "question", "answer", "state")


def filled(name, answers):
    """Return a checklist with what the runs can answer.

    Parameters
    ----------
    name : str
        Key of :data:`TITLES`.
    answers : mapping of str to str
        By the words in the column `answer` of the checklist's CSV; an empty text counts as unknown.

    Returns
    -------
    list of dict
        `item`, `section`, `question`, `answer` and `state`: ``"from the run"``, or ``"open"`` where only the
        authors can answer.
    """
    rows = []
    for item in items(name):
        answer = answers.get(item["answer"], "")
        state = "from the run" if answer else "open"
        rows.append({**item, "answer": answer or OPEN, "state": state})
    return rows


def items(name):
    """Return a checklist's items: `item`, `section`, `question`, and in `answer` the key of what a run knows."""
    text = (files(__name__) / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
