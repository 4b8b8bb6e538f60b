"""Inner loops over known entries, compiled by Numba on first use and kept on disk.

A kernel works on one piece of the rows and leaves Python's lock, so that pieces run side by side in
`eckart.threads.in_threads`; each row is computed the same way whatever piece it is in. Nothing here
is imported before it is needed: `import eckart` stays free of Numba.
"""
