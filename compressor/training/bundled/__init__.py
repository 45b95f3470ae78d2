"""Trains the bundled tiny LLaVA from scratch: ``python -m compressor.training.bundled``."""
