"""Settings of the lifecycle's tests: deterministic, and without a database of earlier failures."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "lifecycle",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def pytest_runtest_setup() -> None:
    """Other folders have profiles of their own."""
    settings.load_profile("lifecycle")
