"""Agents: what one is, the mathematics they share, and one file per algorithm."""
