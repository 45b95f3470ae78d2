"""How well, and how fast, a model answers on reduced tokens."""
