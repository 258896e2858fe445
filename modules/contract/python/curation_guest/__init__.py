"""What every module of the Curation Operator shares: documents, calls to a service that speaks JSON, failures.

`docs/write-a-module.md` of the operator explains the contract. A module is a function for each trigger, and one line:
`WitWorld = module(submit, observe, cancel)`. `curation-guest-build` makes a component of it.
"""

import json
import traceback
from urllib.parse import quote

try:
    from componentize_py_types import Err
    from wit_world.imports import host
except ModuleNotFoundError:  # outside of a component, such as in a test of your own, which may set `host`
    host = None

    class Err(Exception):
        """What an error result is raised as, and thrown by the host."""

        def __init__(self, value):
            super().__init__(value)
            self.value = value



class Failure(Exception):
    """A run that fails. Name the class `HTTPUnavailable` only for what may go away by itself: such a run is retried."""

    def __init__(self, message, failure_class=None):
        super().__init__(message)
        self.failure_class = failure_class


def info(message):
    """A line for the run's log."""
    host.log("info", str(message))


class Service:
    """A service at a base URL. Whatever it answers, an error status too, is a Reply; a Failure: there was no answer."""

    def __init__(self, base):
        if any(each.isspace() or each in "?#" for each in base):
            raise Failure(f"config.api_url must be a base URL alone, without blanks, ? or #; found {base}")
        self.base = base.rstrip("/")

    def get(self, path):
        return self.send("GET", path, None)

    def post(self, path, body):
        return self.send("POST", path, json.dumps(body))

    def send(self, method, path, body):
        url = self.base + path
        headers = {"accept": "application/json", "content-type": "application/json"}
        request = {"method": method, "url": url, "headers": headers, "body": body}
        try:
            reply = json.loads(host.http_call(json.dumps(request)))
        except Err as refused:
            # The host's refusal. Without a class the operator judges the run by its code.
            refusal = json.loads(refused.value)
            raise Failure(f"{method} {url}: {refusal['code']}: {refusal['message']}") from None
        return Reply(f"{method} {url}", reply["status"], reply["body"])


class Reply:
    """What a service has answered."""

    def __init__(self, call, status, body):
        self.call, self.status, self.body = call, status, body

    def json(self):
        """The body of a success. Overload and server errors may pass; any other status: the request is wrong."""
        if 200 <= self.status < 300:
            try:
                return json.loads(self.body)
            except ValueError:
                raise Failure(f"{self.call} answered {self.status} with a body that is no JSON") from None
        passes = self.status in (408, 429) or self.status >= 500
        message = f"{self.call} answered {self.status}: {self.body[:300]}"
        raise Failure(message, "HTTPUnavailable" if passes else None)


def need(given, where, key):
    """A text of the job's spec.input, or of the configuration."""
    value = given.get(key)
    if not isinstance(value, str) or not value:
        raise Failure(f"{where}.{key} is missing: set it in spec.{where} of the job")
    return value


def segment(value):
    """An id as one segment of a path: a slash in it would reach another path."""
    return quote(str(value), safe="")


def as_object(value):
    """A job's status takes objects only; anything else goes under `result`."""
    return value if value is None or isinstance(value, dict) else {"result": value}


def module(submit, observe, cancel):
    """The class that a component exports: each trigger has a function of its own."""

    class WitWorld:
        def run(self, context):
            return run(context, {"Submit": submit, "Observe": observe, "Cancel": cancel})

    return WitWorld


def run(context, triggers):
    """The export `run`. Raises Err."""
    try:
        read = json.loads(context)
        return json.dumps(triggers[read["trigger"]](read))
    except Failure as failure:
        error = {"message": str(failure)}
        if failure.failure_class is not None:
            error["class"] = failure.failure_class
        raise Err(json.dumps(error)) from None
    except Exception as error:
        # It would end the run as a trap, and a trap says nothing: this is how its text gets into the log.
        host.log("error", traceback.format_exc())
        raise Err(json.dumps({"message": f"{type(error).__name__}: {error}"})) from None
