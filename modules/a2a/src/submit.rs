//! Submit: one message to the agent, which answers with a task, or at once with a message.
//!
//! Nothing is undone here when it fails: the operator then invokes this module with Cancel for the whole run.

use crate::agent::{failed, Agent, Call};
use crate::context::Context;
use crate::document::{copy, object};
use crate::failure::Failure;
use crate::reply::Reply;
use crate::{host, message, task};
use serde_json::{Map, Value};

/// The key of the metadata that says which run a message is of.
pub const RUN_ID: &str = "curation.dev/run-id";

pub fn run(context: &Context, agent: &Agent) -> Result<Value, Failure> {
    let run = context.text("/run/id")?;
    let job = [context.text("/job/namespace")?, "/", context.text("/job/name")?].concat();
    let text = message::build(context)?;

    let mut metadata = Map::new();
    metadata.insert(RUN_ID.into(), run.into());
    metadata.insert("curation.dev/job".into(), job.into());
    for (pointer, name) in [("/input/title", "title"), ("/input/workspace", "workspace"), ("/config/agent", "agent")] {
        if let Some(value) = context.get(pointer) {
            metadata.insert(name.into(), value.clone());
        }
    }
    let metadata = Value::Object(metadata);
    // An agent may know a message again by its id: the same run sends none twice.
    let mut sent = Map::new();
    sent.insert("messageId".into(), run.into());
    sent.insert("role".into(), "ROLE_USER".into());
    sent.insert("parts".into(), Value::Array(vec![object([("text", text.into())])]));
    sent.insert("metadata".into(), copy(Some(&metadata)));
    if agent.own_context {
        sent.insert("contextId".into(), run.into());
    }
    let request = object([
        ("message", Value::Object(sent)),
        ("configuration", object([("returnImmediately", true.into()), ("historyLength", 0.into())])),
        ("metadata", metadata),
    ]);
    match agent.call(&Call::Send(request))? {
        Reply::Error(fault) => Err(failed("SendMessage", &fault)),
        Reply::Result(result) => answered(&result, agent.own_context.then_some(run)),
    }
}

fn answered(result: &Value, context: Option<&str>) -> Result<Value, Failure> {
    if let Some(id) = result["task"]["id"].as_str().filter(|id| !id.is_empty()) {
        host::log("info", &["started task ", id, ", which is ", task::state(&result["task"])].concat());
        if context.is_some() && result["task"]["contextId"].as_str() != context {
            host::log(
                "warning",
                "the agent did not take the run's id as context id, so a Cancel that knows only the run will not find \
                 what it made; set config.context_id to agent",
            );
        }
        return Ok(object([("action", "SessionSpawned".into()), ("session", task::session(id))]));
    }
    if result["message"].is_object() {
        host::log("info", "the agent answered at once, without a task");
        let parts = &result["message"]["parts"];
        let output = object([("message", task::text(parts).into()), ("parts", task::parts(parts))]);
        return Ok(object([("action", "Completed".into()), ("output", output)]));
    }
    Err(Failure::module("SendMessage answered with neither a task that has an id nor a message.".into()))
}
