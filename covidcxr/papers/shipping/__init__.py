"""Shipped models: what a finished run must fulfil to lie in saved_models/, and the files that stand there."""
