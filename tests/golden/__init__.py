"""Recorded numbers of published implementations, and how to replay them."""
