"""Pure functions from a projection (and its image) to a figure or a picture."""
