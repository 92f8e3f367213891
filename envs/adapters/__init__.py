"""Environments of other libraries, one file each, which registers their ids."""
