"""Networks, their heads and weights, and the files they travel in."""
