"""Network modules: arrays in, arrays out."""
