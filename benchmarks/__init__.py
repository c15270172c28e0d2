"""Masked autoregressive flows side by side with zuko's and nflows', in one run: `make bench`."""
