"""Inner loops over known entries, compiled by Numba on first use and cached on disk.

A kernel works on one piece of the rows and releases Python's global lock, so that pieces run in
parallel in `eckart.threads.in_threads`; each row is computed the same way in any piece. Nothing
here is imported before it is needed, so that `import eckart` does not load Numba.
"""
