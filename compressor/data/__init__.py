"""Benchmarks by name: the generated world, and those read from files."""
