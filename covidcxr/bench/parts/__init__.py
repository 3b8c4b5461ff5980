"""One module a part of the package: what is raced against what."""
