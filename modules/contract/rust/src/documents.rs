//! What the operator says and expects: the documents of docs/schemas, as far as modules need them as a rule.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{json, Value};
use std::collections::BTreeMap;

#[derive(Deserialize)]
pub enum Trigger {
    Submit,
    Observe,
    Cancel,
}

#[derive(Deserialize)]
pub struct Context {
    pub trigger: Trigger,
    pub run: Run,
    pub job: Job,
    /// To observe or cancel; not there if it is not known.
    pub session: Option<Session>,
    /// The job's `spec.input`: an object, empty for Cancel.
    pub input: Value,
    pub config: BTreeMap<String, String>,
    /// When the run's `wallSeconds` end: RFC 3339, the only time there is.
    pub deadline: String,
}

#[derive(Deserialize)]
pub struct Run {
    pub id: String,
    pub generation: u64,
    pub attempt: u64,
}

#[derive(Deserialize)]
pub struct Job {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Serialize)]
pub struct Session {
    #[serde(deserialize_with = "text_id")]
    pub id: String,
    pub url: Option<String>,
}

/// An id of the service as it came: a text or a number.
pub fn id<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    match Value::deserialize(from)? {
        id @ (Value::String(_) | Value::Number(_)) => Ok(id),
        other => Err(D::Error::custom(format!("an id is a text or a number; found {other}"))),
    }
}

/// An id of the service as a text: nothing of a number is lost.
pub fn text_id<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    id(from).map(|id| id.as_str().map_or_else(|| id.to_string(), String::from))
}

impl Context {
    /// A key of `spec.config`, of the job or of the module.
    pub fn config(&self, key: &str) -> Result<&str, Failure> {
        match self.config.get(key) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => {
                Err(Failure::new(format!("config.{key} is missing: set it in spec.config of the job or of the module")))
            }
        }
    }

    /// A text of the job's `spec.input`. It is empty for Cancel.
    pub fn input(&self, key: &str) -> Result<&str, Failure> {
        match &self.input[key] {
            Value::String(text) if !text.is_empty() => Ok(text),
            Value::Null | Value::String(_) => {
                Err(Failure::new(format!("input.{key} is missing: set it in spec.input of the job")))
            }
            other => Err(Failure::new(format!("input.{key} must be a string; found {other}"))),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "action")]
pub enum Outcome {
    SessionSpawned {
        session: Session,
    },
    Running {
        progress: Option<Value>,
    },
    Completed {
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
    },
    Failed {
        reason: String,
    },
    Cancelled,
}

#[derive(Serialize)]
pub struct Failure {
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
}

impl Failure {
    /// Names no class: the operator infers it from the last call (denied, no answer, a limit), else it is a ModuleError.
    pub fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), class: None }
    }

    /// An answer that may be another one later. Of the classes that a module may name, this one is tried again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Failure { message: message.into(), class: Some("HTTPUnavailable") }
    }
}

/// A job's status takes objects only; anything else goes under `result`.
pub fn object(value: Option<Value>) -> Option<Value> {
    value.map(|value| if value.is_object() { value } else { json!({"result": value}) })
}
