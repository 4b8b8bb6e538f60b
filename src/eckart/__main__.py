"""`python -m eckart`."""

from eckart.cli import run

run()
