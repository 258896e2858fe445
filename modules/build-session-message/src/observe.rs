//! Observe: what the session is doing now.

use crate::context::Context;
use crate::document::object;
use crate::failure::Failure;
use crate::{api, host};
use serde_json::Value;

pub fn run(context: &Context) -> Result<Value, Failure> {
    let base = context.api_url()?;
    let id = context.text("/session/id")?;
    let url = [base, "/sessions/", &api::segment(id)].concat();
    let answer = api::send("GET", &url, None)?;
    if answer.status == 404 || answer.status == 410 {
        let status = answer.status.to_string();
        return Ok(failed(["The session ", id, " is gone: the session service answered ", &status, "."].concat()));
    }
    let call = answer.call.clone();
    let mut session = answer.json()?;
    let state = session["state"].as_str().unwrap_or("").to_string();
    host::log("debug", &["session ", id, " is ", &state].concat());
    match state.as_str() {
        "created" | "running" => {
            let running = ("action", "Running".into());
            Ok(match session["progress"].take() {
                Value::Null => object([running]),
                progress => object([running, ("progress", storable(progress))]),
            })
        }
        "completed" => Ok(object([("action", "Completed".into()), ("output", storable(session["output"].take()))])),
        "failed" => Ok(failed(match session["reason"].as_str() {
            Some(reason) if !reason.is_empty() => reason.into(),
            _ => ["The session ", id, " failed and gave no reason."].concat(),
        })),
        "cancelled" => Ok(failed(["The session ", id, " was cancelled at the session service."].concat())),
        other => Err(Failure::module([&call, " answered a session in the unknown state \"", other, "\"."].concat())),
    }
}

fn failed(reason: String) -> Value {
    object([("action", "Failed".into()), ("reason", reason.into())])
}

/// The job's status takes objects only: anything else that the service tells is put under `result`.
fn storable(value: Value) -> Value {
    match value {
        Value::Object(_) => value,
        Value::Null => object([]),
        other => object([("result", other)]),
    }
}
