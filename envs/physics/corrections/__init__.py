"""What is put right about MJX (and JAX under it), one correction a file.

It is only here that private modules of MJX are used or anything of MJX and JAX is replaced.
"""
