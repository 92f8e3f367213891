"""Datasets of transitions: reading, checking, recording and writing them."""
