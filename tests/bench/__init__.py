"""How fast Backchat is, as ratios to a bare echo under the same server (DESIGN section 8): `python -m tests.bench`."""
