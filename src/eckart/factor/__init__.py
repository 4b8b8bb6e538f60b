"""Factoring the matrix of a file, with a certificate, and the commands on files of factors."""
