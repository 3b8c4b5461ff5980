"""Which images are scored after every epoch."""


def monitored(records):
    """Return the images that are scored after every epoch."""
    if "monitored" in records.table:
        return records.where(records.table["monitored"].astype(bool))
    return records.where(records.table["split"] == "val")
