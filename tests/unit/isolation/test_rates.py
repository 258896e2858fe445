"""A bucket for each address: a burst, then so many a second, and what one does costs no other anything."""

from curation.isolation.rates import Rates


def test_after_a_burst_so_many_a_second_may_and_another_address_does_not_notice() -> None:
    rates = Rates()
    assert [rates.may("a", 5.0, 100.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert rates.may("b", 5.0, 100.0)
    assert [rates.may("a", 5.0, 100.4) for _ in range(3)] == [True, True, False]
    assert [rates.may("a", 5.0, 200.0) for _ in range(6)] == [True] * 5 + [False]


def test_what_is_kept_of_addresses_is_bounded_and_a_clock_that_goes_back_gives_nothing() -> None:
    rates = Rates()
    for number in range(5000):
        assert rates.may(str(number), 1.0, 100.0)
    assert len(rates._of) <= 1024
    assert not rates.may("4999", 1.0, 50.0)
