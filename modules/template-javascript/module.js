// A module to copy: it starts a session at an HTTP service, follows it, and ends it. This file is yours to change.
import { Failure, Service, info, need, object, runs, segment } from "curation-guest";

const service = (context) => new Service(need(context.config, "config", "api_url"));

/** Creates, and cleans nothing up: the operator calls `cancel` for each run that may have left something. */
function submit(context) {
  const at = service(context);
  const message = need(context.input, "input", "message");
  const title = `${context.job.namespace}/${context.job.name}`;
  const workspace = at.post("/workspaces", { name: title }).json();
  const session = at.post("/sessions", { workspace: workspace.id, title, message }).json();
  info(`started session ${session.id} of run ${context.run.id}`);
  return { action: "SessionSpawned", session: { id: String(session.id), url: session.url ?? undefined } };
}

/** Reads only. An error is no failure of the session: the operator observes again later. */
function observe(context) {
  if (!context.session) throw new Failure("there is no session to observe");
  const reply = service(context).get(`/sessions/${segment(context.session.id)}`);
  if (reply.status === 404 || reply.status === 410) {
    return { action: "Failed", reason: `the service knows no session ${context.session.id}` };
  }
  const seen = reply.json();
  switch (seen.state) {
    case "created":
    case "running":
      return { action: "Running", progress: object(seen.progress) };
    case "completed":
      return { action: "Completed", output: object(seen.output) };
    default:
      return { action: "Failed", reason: seen.reason ?? `the session is ${seen.state}` };
  }
}

/** Ends whatever the run has created, by run id: the session is not known where a run ended early. */
function cancel(context) {
  const reply = service(context).post(`/runs/${segment(context.run.id)}/cancel`, {});
  // Ended before, or unknown: there is nothing left to cancel, and a second Cancel is no error.
  if (![404, 409, 410].includes(reply.status)) reply.json();
  return { action: "Cancelled" };
}

export const run = runs({ submit, observe, cancel });
