"""Measurements of speed and memory; each module prints one line of JSON."""
