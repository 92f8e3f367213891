"""Datasets of transitions: reading, checking and writing them."""
