//! A module to copy: it starts a session at an HTTP service, follows it, and ends it. This file is yours to change.

use curation_guest::{info, object, segment, Context, Failure, Outcome, Result, Service, Session};
use serde::Deserialize;
use serde_json::{json, Value};

curation_guest::module!(submit, observe, cancel);

fn service(context: &Context) -> Result<Service<'_>> {
    Service::new(context.config("api_url")?)
}

/// Creates, and cleans nothing up: the operator calls `cancel` for each run that may have left something.
///
/// The host puts the run id (`Curation-Run-Id`) on every call, and on these an `Idempotency-Key` of run id and number of
/// the call. So a repeated Submit of one run, which makes the same calls in the same order, creates nothing twice.
fn submit(context: &Context) -> Result {
    let service = service(context)?;
    let message = context.input("message")?;
    let title = format!("{}/{}", context.job.namespace, context.job.name);
    let workspace: Workspace = service.post("/workspaces", &json!({"name": title}))?.json()?;
    let session = json!({"workspace": workspace.id, "title": title, "message": message});
    let session: Session = service.post("/sessions", &session)?.json()?;
    info(&format!("started session {} of run {}", session.id, context.run.id));
    Ok(Outcome::SessionSpawned { session })
}

/// Reads only. An error is no failure of the session: the operator observes again later.
fn observe(context: &Context) -> Result {
    let Some(session) = &context.session else {
        return Err(Failure::new("there is no session to observe"));
    };
    let reply = service(context)?.get(&format!("/sessions/{}", segment(&session.id)))?;
    if matches!(reply.status, 404 | 410) {
        return Ok(Outcome::Failed { reason: format!("the service knows no session {}", session.id) });
    }
    let seen: Observed = reply.json()?;
    Ok(match seen.state {
        State::Created | State::Running => Outcome::Running { progress: object(seen.progress) },
        State::Completed => Outcome::Completed { output: object(seen.output) },
        State::Failed => Outcome::Failed { reason: seen.reason.unwrap_or_else(|| "the session failed".into()) },
        State::Cancelled => Outcome::Failed { reason: "the session was cancelled at the service".into() },
    })
}

/// Ends whatever the run has created, by run id: `context.session` is null when a run ended before its session was known.
///
/// A run that has created nothing is cancelled too: the service then refuses what may still arrive in its name.
fn cancel(context: &Context) -> Result {
    let reply = service(context)?.post(&format!("/runs/{}/cancel", segment(&context.run.id)), &json!({}))?;
    // Ended before, or unknown: there is nothing left to cancel, and a second Cancel is no error.
    if !matches!(reply.status, 404 | 409 | 410) {
        reply.json::<Value>()?;
    }
    Ok(Outcome::Cancelled)
}

#[derive(Deserialize)]
struct Workspace {
    #[serde(deserialize_with = "curation_guest::id")]
    id: Value,
}

#[derive(Deserialize)]
struct Observed {
    state: State,
    progress: Option<Value>,
    output: Option<Value>,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Created,
    Running,
    Completed,
    Failed,
    Cancelled,
}
