//! What an agent answered: the result of a call, or an error in the words of either binding.

use crate::failure::Failure;
use serde_json::Value;

pub enum Reply {
    Result(Value),
    Error(Fault),
}

/// An error of the protocol (section 5.4 of the specification).
pub struct Fault {
    pub kind: Kind,
    pub message: String,
}

#[derive(PartialEq)]
pub enum Kind {
    NotFound,
    NotCancelable,
    /// The agent does not have this operation.
    Unsupported,
    Other,
}

impl Reply {
    /// Failures are what is not of the protocol, and what may pass by itself: overload, an internal error.
    ///
    /// `absent` is what it means of this call that the address does not exist, where the agent says no more.
    pub fn of(call: &str, response: &str, rest: bool, absent: impl Fn(u64) -> Option<Kind>) -> Result<Self, Failure> {
        let response: Value = serde_json::from_str(response).unwrap_or(Value::Null);
        let status = response["status"].as_u64().unwrap_or(0);
        let text = response["body"].as_str().unwrap_or("");
        let succeeded = (200..300).contains(&status);
        let mut body: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let kind = if rest { resource_kind(status, &body, absent) } else { procedure_kind(&body) };
        if let Some(kind) = kind {
            let message = match body["error"]["message"].as_str() {
                Some(message) if !message.is_empty() => message.chars().take(300).collect(),
                _ => ["it answered ", &status.to_string()].concat(),
            };
            return Ok(Reply::Error(Fault { kind, message }));
        }
        if !succeeded {
            return Err(Failure::status(call, status, text));
        }
        if !rest && body["error"].is_object() {
            // An internal error of an agent may pass, as a 500 may.
            let message = body["error"]["message"].as_str().unwrap_or("it gave no reason");
            let message: String = message.chars().take(300).collect();
            return Err(Failure::unfinished([call, " failed inside the agent: ", &message].concat()));
        }
        let result = if rest { body } else { body["result"].take() };
        if !result.is_object() {
            return Err(Failure::module(
                [call, " answered ", &status.to_string(), " with a body that is no answer of the A2A protocol."]
                    .concat(),
            ));
        }
        Ok(Reply::Result(result))
    }
}

/// None: no error, or one that is to be told by its HTTP status.
fn procedure_kind(body: &Value) -> Option<Kind> {
    match body["error"]["code"].as_i64()? {
        -32001 => Some(Kind::NotFound),
        -32002 => Some(Kind::NotCancelable),
        -32601 | -32004 => Some(Kind::Unsupported),
        -32603 => None,
        _ => Some(Kind::Other),
    }
}

fn resource_kind(status: u64, body: &Value, absent: impl Fn(u64) -> Option<Kind>) -> Option<Kind> {
    let reasons = body["error"]["details"].as_array();
    for detail in reasons.into_iter().flatten() {
        match detail["reason"].as_str() {
            Some("TASK_NOT_FOUND") => return Some(Kind::NotFound),
            Some("TASK_NOT_CANCELABLE") => return Some(Kind::NotCancelable),
            Some("UNSUPPORTED_OPERATION") => return Some(Kind::Unsupported),
            _ => {}
        }
    }
    match status {
        404 | 405 | 410 | 501 => absent(status),
        _ => None,
    }
}
