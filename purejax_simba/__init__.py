"""SimbaV2 as one compiled JAX program."""
