"""Audits: how a set of images, or a model trained on it, could score well without seeing any disease."""
