"""A module to copy: it starts a session at an HTTP service, follows it, and ends it. This file is yours to change."""

from curation_guest import Failure, Service, as_object, info, module, need, segment


def service(context):
    return Service(need(context["config"], "config", "api_url"))


def submit(context):
    """Creates, and cleans nothing up: the operator calls `cancel` for each run that may have left something."""
    at = service(context)
    message = need(context["input"], "input", "message")
    title = f"{context['job']['namespace']}/{context['job']['name']}"
    workspace = at.post("/workspaces", {"name": title}).json()
    session = at.post("/sessions", {"workspace": workspace["id"], "title": title, "message": message}).json()
    info(f"started session {session['id']} of run {context['run']['id']}")
    found = {"id": str(session["id"])}
    if session.get("url"):
        found["url"] = session["url"]
    return {"action": "SessionSpawned", "session": found}


def observe(context):
    """Reads only. An error is no failure of the session: the operator observes again later."""
    if not context.get("session"):
        raise Failure("there is no session to observe")
    session = context["session"]["id"]
    reply = service(context).get(f"/sessions/{segment(session)}")
    if reply.status in (404, 410):
        return {"action": "Failed", "reason": f"the service knows no session {session}"}
    seen = reply.json()
    match seen.get("state"):
        case "created" | "running":
            progress = as_object(seen.get("progress"))
            return {"action": "Running"} if progress is None else {"action": "Running", "progress": progress}
        case "completed":
            return {"action": "Completed", "output": as_object(seen.get("output")) or {}}
        case state:
            return {"action": "Failed", "reason": seen.get("reason") or f"the session is {state}"}


def cancel(context):
    """Ends whatever the run has created, by run id: the session is not known where a run ended early."""
    reply = service(context).post(f"/runs/{segment(context['run']['id'])}/cancel", {})
    # Ended before, or unknown: there is nothing left to cancel, and a second Cancel is no error.
    if reply.status not in (404, 409, 410):
        reply.json()
    return {"action": "Cancelled"}


WitWorld = module(submit, observe, cancel)
