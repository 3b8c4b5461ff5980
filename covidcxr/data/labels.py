"""The label strings, and how the many spellings found on disk become one of them."""

import re

COVID19 = "covid19"
NORMAL = "normal"
PNEUMONIA = "pneumonia"
BACTERIAL = "bacterial_pneumonia"
VIRAL = "viral_pneumonia"
SARS = "sars"

LABELS = (COVID19, NORMAL, PNEUMONIA, BACTERIAL, VIRAL, SARS)

_SPELLINGS = {
    COVID19: ("covid", "covid19", "coronavirus", "sarscov2", "ncov", "ncov19", "positive"),
    NORMAL: ("normal", "healthy", "nofinding", "nofindings", "negative"),
    PNEUMONIA: ("pneumonia", "lungopacity", "otherpneumonia"),
    BACTERIAL: ("bacterial", "bacteria", "bacterialpneumonia", "pneumoniabacterial", "bacterialpneumonias"),
    VIRAL: ("viral", "virus", "viralpneumonia", "pneumoniaviral"),
    SARS: ("sars", "sarscov1"),
}
_BY_SPELLING = {spelling: label for label, spellings in _SPELLINGS.items() for spelling in spellings}


def canonical(text):
    """Reduce a spelling to a settled label where it is one, and to a tidy lower-case string where not.

    Parameters
    ----------
    text : str
        A folder name or table cell such as ``"COVID-19"``, ``"Normal "`` or ``"Viral Pneumonia"``.

    Returns
    -------
    str
        One of :data:`LABELS`, or the text stripped, in lower case, with blanks as underscores.

    Examples
    --------
    >>> canonical("COVID-19"), canonical("  Viral Pneumonia"), canonical("Pleural effusion")
    ('covid19', 'viral_pneumonia', 'pleural_effusion')
    """
    spelling = re.sub(r"[^a-z0-9]", "", str(text).lower())
    return _BY_SPELLING.get(spelling) or re.sub(r"\s+", "_", str(text).strip().lower())
