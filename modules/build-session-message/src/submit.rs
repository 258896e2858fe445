//! Submit: a workspace if none is given, a session in it, its configuration.
//!
//! Nothing is undone here when a later call fails: the operator then invokes this module with Cancel for the whole run.

use crate::context::Context;
use crate::document::{copy, object};
use crate::failure::Failure;
use crate::{api, host, message};
use serde_json::{Map, Value};

pub fn run(context: &Context) -> Result<Value, Failure> {
    let base = context.api_url()?;
    let job = [context.text("/job/namespace")?, "/", context.text("/job/name")?].concat();
    let text = message::build(context)?;
    let title = context.optional("/input/title")?.unwrap_or(&job);
    let workspace = workspace(context, base, &job)?;

    let mut session = Map::new();
    let of_it = [" in workspace ", &api::text(&workspace)].concat();
    session.insert("workspace".into(), workspace);
    session.insert("message".into(), text.into());
    session.insert("title".into(), title.into());
    if let Some(agent) = context.optional("/config/agent")? {
        session.insert("agent".into(), agent.into());
    }
    let url = [base, "/sessions"].concat();
    let (id, created) = api::send("POST", &url, Some(&Value::Object(session)))?.created()?;
    host::log("info", &["created session ", &id, &of_it].concat());

    let settings = object([
        ("job", copy(context.get("/job"))),
        ("run", copy(context.get("/run"))),
        ("input", copy(context.get("/input"))),
    ]);
    let url = [&url, "/", &api::segment(&id), "/configure"].concat();
    let configured = api::send("POST", &url, Some(&settings))?;
    if !configured.succeeded() {
        return Err(configured.failure());
    }
    host::log("info", &["configured session ", &id].concat());

    // A link is for people only: one that the job's status would not take is left out, and costs no session.
    let session = match created["url"].as_str().filter(|link| link.len() <= 2048) {
        Some(link) => object([("id", id.into()), ("url", link.into())]),
        None => object([("id", id.into())]),
    };
    Ok(object([("action", "SessionSpawned".into()), ("session", session)]))
}

/// The workspace named by the job's input, else by the configuration, else a new one: as its service writes it, which may
/// take no text for a number.
fn workspace(context: &Context, base: &str, job: &str) -> Result<Value, Failure> {
    if let Some(number @ Value::Number(_)) = context.get("/input/workspace") {
        return Ok(number.clone());
    }
    for pointer in ["/input/workspace", "/config/workspace"] {
        if let Some(id) = context.optional(pointer)? {
            return Ok(id.into());
        }
    }
    let url = [base, "/workspaces"].concat();
    let (id, mut created) = api::send("POST", &url, Some(&object([("name", job.into())])))?.created()?;
    host::log("info", &["created workspace ", &id].concat());
    Ok(created["id"].take())
}
