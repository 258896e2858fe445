//! The error result: a sentence for a person, and the failure class that decides whether the operator tries again.

use crate::document::object;
use serde_json::Value;

pub struct Failure {
    pub message: String,
    class: &'static str,
}

impl Failure {
    /// The module's own refusal: bad input, or an answer that makes no sense. Never retried.
    pub fn module(message: String) -> Self {
        Failure { message, class: "ModuleError" }
    }

    /// An answer that is not a success. Overload and server errors may pass; anything else says the request is wrong.
    pub fn status(call: &str, status: u64, body: &str) -> Self {
        let class = if status >= 500 || status == 429 || status == 408 { "HTTPUnavailable" } else { "ModuleError" };
        let mut message = [call, " answered ", &status.to_string()].concat();
        let reason = reason(body);
        if reason.is_empty() {
            message.push('.');
        } else {
            message.push_str(": ");
            message.push_str(&reason);
        }
        Failure { message, class }
    }

    /// The host's refusal to send, or its failure to get an answer.
    pub fn host(call: &str, error: &str) -> Self {
        let error: Value = serde_json::from_str(error).unwrap_or(Value::Null);
        let (class, verdict) = match error["code"].as_str() {
            Some("denied") => ("Denied", "was denied by policy"),
            Some("unavailable") => ("HTTPUnavailable", "got no answer"),
            Some("limit") => ("LimitExceeded", "went over a limit"),
            Some("invalid") => ("EgressRefused", "was refused as a request that no policy can allow"),
            Some("cancelled") => ("ModuleError", "was not sent, because this run has been superseded"),
            _ => ("ModuleError", "failed"),
        };
        let detail = error["message"].as_str().unwrap_or("");
        let message = if detail.is_empty() {
            [call, " ", verdict, "."].concat()
        } else {
            [call, " ", verdict, ": ", detail].concat()
        };
        Failure { message, class }
    }

    pub fn to_json(&self) -> String {
        object([("message", self.message.as_str().into()), ("class", self.class.into())]).to_string()
    }

    /// Something that the service has not done, and may do when it is asked again.
    #[allow(dead_code)] // a2a says so
    pub fn unfinished(message: String) -> Self {
        Failure { message, class: "HTTPUnavailable" }
    }
}

/// What the service says is wrong: the usual fields of a JSON error, else the start of the text.
fn reason(body: &str) -> String {
    let document: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    for pointer in ["/error/message", "/error", "/message", "/detail"] {
        if let Some(text) = document.pointer(pointer).and_then(Value::as_str) {
            return text.chars().take(300).collect();
        }
    }
    body.trim().chars().take(300).collect()
}
