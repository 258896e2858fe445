//! A task as the protocol has it: its state, what its agent says about it, and what it produced.

use crate::document::{copy, object};
use serde_json::{Map, Value};

/// Levels of a piece of data that are kept as they are; a job's status takes 64 in all.
const MAX_DEPTH: usize = 48;

/// Its state without the prefix that all have: WORKING, COMPLETED, ...; empty for what is no task.
pub fn state(task: &Value) -> &str {
    task["status"]["state"].as_str().unwrap_or("").trim_start_matches("TASK_STATE_")
}

pub fn ended(state: &str) -> bool {
    matches!(state, "COMPLETED" | "FAILED" | "CANCELED" | "REJECTED")
}

/// The text of the message that came with its state.
pub fn said(task: &Value) -> String {
    text(&task["status"]["message"]["parts"])
}

/// All text parts, one after another.
pub fn text(parts: &Value) -> String {
    let mut text = String::new();
    for part in parts.as_array().into_iter().flatten() {
        if let Some(more) = part["text"].as_str() {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(more);
        }
    }
    text
}

/// What it produced, for a job's status: every artifact with all its parts, but for the bytes of files.
pub fn output(task: &Value) -> Value {
    let mut artifacts = Vec::new();
    for artifact in task["artifacts"].as_array().into_iter().flatten() {
        let mut kept = Map::new();
        for (name, kept_as) in [("artifactId", "id"), ("name", "name"), ("description", "description")] {
            if let Some(text) = artifact[name].as_str().filter(|text| !text.is_empty()) {
                kept.insert(kept_as.into(), text.into());
            }
        }
        kept.insert("parts".into(), parts(&artifact["parts"]));
        artifacts.push(Value::Object(kept));
    }
    let mut output = Map::new();
    output.insert("artifacts".into(), Value::Array(artifacts));
    let said = said(task);
    if !said.is_empty() {
        output.insert("message".into(), said.into());
    }
    Value::Object(output)
}

/// Parts as they are kept. The bytes of a file are counted only: a status is no place for them.
pub fn parts(parts: &Value) -> Value {
    let mut all = Vec::new();
    for part in parts.as_array().into_iter().flatten() {
        let mut kept = Map::new();
        for name in ["text", "url", "filename", "mediaType"] {
            if let Some(text) = part[name].as_str().filter(|text| !text.is_empty()) {
                kept.insert(name.into(), text.into());
            }
        }
        if let Some(data) = part.get("data") {
            kept.insert("data".into(), storable(data, MAX_DEPTH));
        }
        if let Some(raw) = part["raw"].as_str() {
            let padding = raw.bytes().rev().take_while(|byte| *byte == b'=').count();
            kept.insert("bytes".into(), (raw.len() / 4 * 3).saturating_sub(padding).into());
        }
        all.push(Value::Object(kept));
    }
    Value::Array(all)
}

/// Data that a status can hold: integers of more than 64 bits, and what is nested too deep, as text.
fn storable(value: &Value, levels: usize) -> Value {
    match value {
        Value::Number(number) if number.as_i64().is_none() && !number.to_string().contains(['.', 'e', 'E']) => {
            number.to_string().into()
        }
        Value::Array(_) | Value::Object(_) if levels == 0 => value.to_string().into(),
        Value::Array(items) => Value::Array(items.iter().map(|item| storable(item, levels - 1)).collect()),
        Value::Object(fields) => {
            let mut kept = Map::new();
            for (name, field) in fields {
                kept.insert(name.clone(), storable(field, levels - 1));
            }
            Value::Object(kept)
        }
        other => copy(Some(other)),
    }
}

/// What is shown of a task that goes on.
pub fn progress(task: &Value) -> Value {
    let mut progress = Map::new();
    progress.insert("state".into(), state(task).into());
    let said = said(task);
    if !said.is_empty() {
        progress.insert("message".into(), said.chars().take(2000).collect::<String>().into());
    }
    Value::Object(progress)
}

/// Whether a run has made it, by the context id or the metadata that its message had.
pub fn made_by(task: &Value, run: &str) -> bool {
    let marked = |document: &Value| document["metadata"][crate::submit::RUN_ID].as_str() == Some(run);
    task["contextId"].as_str() == Some(run)
        || marked(task)
        || task["history"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|message| marked(message) || message["messageId"].as_str() == Some(run))
}

/// A session of the contract.
pub fn session(id: &str) -> Value {
    object([("id", id.into())])
}
