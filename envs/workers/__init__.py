"""Stateful environments in processes of their own, also of other Python interpreters."""
