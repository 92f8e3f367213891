"""Agents: the soft actor-critic core and one file per agent."""
