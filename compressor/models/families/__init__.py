"""The model families: a folder each, behind the interface of `models.base`, listed in `models.catalog`."""
