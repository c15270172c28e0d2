"""An honest comparison of densities on real tables, all on one measure: `python -m benchmarks.tables --help`."""
