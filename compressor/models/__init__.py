"""The model families: one module each, behind the interface of `base` and listed in `catalog`."""
