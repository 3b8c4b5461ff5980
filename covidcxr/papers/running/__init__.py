"""How a plan is carried out: images, network, batches, stages, scores, and the folder that all is written to."""
