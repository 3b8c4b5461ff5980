"""What a model knows: metrics with intervals, figures, audits, claims, reports."""
