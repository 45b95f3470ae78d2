"""The token reduction methods: one module per family, all behind `registry`."""
