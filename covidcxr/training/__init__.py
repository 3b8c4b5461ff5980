"""What a schedule runs: stages, devices, checkpoints."""
