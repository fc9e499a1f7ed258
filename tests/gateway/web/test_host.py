"""Which Host headers name the page: numbers and localhost, never a name that a stranger could point here."""

import re

from hypothesis import given
from hypothesis import strategies as st

from gateway.web.page import answers_to


def test_addresses_of_numbers_are_answered() -> None:
    for host in ("127.0.0.1", "127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "[::1]", "10.42.0.1"):
        assert answers_to(host), host


@given(st.text(max_size=40))
def test_no_other_host_is_answered(host: str) -> None:
    if answers_to(host):
        assert re.fullmatch(r"(?i:localhost)|[\d.]+|\[[0-9a-fA-F:.%]+\]", re.sub(r":\d+$", "", host))
