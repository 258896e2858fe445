"""When a failed run is tried again."""

from datetime import datetime, timedelta

from curation.api.job import Retry


def retry_at(now: datetime, retries: int, retry: Retry, sample: float) -> datetime:
    """When the next automatic retry may start: exponential backoff with full jitter.

    `retries` is how many there were before; `sample` is drawn evenly from [0, 1).
    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: full jitter spreads a burst best.
    """
    ceiling = min(retry.max_delay_seconds, retry.initial_delay_seconds * 2 ** min(retries, 32))
    return now + timedelta(seconds=ceiling * sample)
