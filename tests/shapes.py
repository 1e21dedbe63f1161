"""What checks the types of every call in tests, shapes included (conftest.py installs it)."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""As type checkers do, it takes whole numbers where a float is asked for."""
