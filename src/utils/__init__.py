"""Stateless helpers that would make sense in another project; nothing here imports our other packages."""
