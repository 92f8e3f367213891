"""Measurements of speed and memory; each module prints one line of JSON."""

import sys

from purejax_simba import stopping

if sys.argv[0] == "-m":  # one of them is the command, and is imported next
    stopping.hear()
