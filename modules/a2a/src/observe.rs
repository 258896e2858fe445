//! Observe: what the task is doing now.

use crate::agent::{failed, Agent, Call};
use crate::context::Context;
use crate::document::object;
use crate::failure::Failure;
use crate::reply::{Kind, Reply};
use crate::{host, task};
use serde_json::Value;

pub fn run(context: &Context, agent: &Agent) -> Result<Value, Failure> {
    let id = context.text("/session/id")?;
    let found = match agent.call(&Call::Get(id))? {
        Reply::Result(found) => found,
        Reply::Error(fault) if fault.kind == Kind::NotFound => {
            return Ok(over(["The task ", id, " is gone: ", &fault.message].concat()));
        }
        Reply::Error(fault) => return Err(failed("GetTask", &fault)),
    };
    let state = task::state(&found);
    host::log("debug", &["task ", id, " is ", state].concat());
    let told = |verb: &str| match task::said(&found) {
        said if said.is_empty() => over(["The task ", id, " ", verb, " and gave no reason."].concat()),
        said => over(said.chars().take(1000).collect()),
    };
    match state {
        // An agent that waits for input or for a right can get it from others, and then goes on.
        "SUBMITTED" | "WORKING" | "INPUT_REQUIRED" | "AUTH_REQUIRED" | "UNSPECIFIED" => {
            Ok(object([("action", "Running".into()), ("progress", task::progress(&found))]))
        }
        "COMPLETED" => Ok(object([("action", "Completed".into()), ("output", task::output(&found))])),
        "FAILED" => Ok(told("failed")),
        "REJECTED" => Ok(told("was rejected by the agent")),
        "CANCELED" => Ok(over(["The task ", id, " was cancelled at the agent."].concat())),
        other => Err(Failure::module(["GetTask answered a task in the unknown state \"", other, "\"."].concat())),
    }
}

fn over(reason: String) -> Value {
    object([("action", "Failed".into()), ("reason", reason.into())])
}
