//! The session's first message, built from the job's input.

use crate::context::{kind, Context};
use crate::failure::Failure;
use serde_json::{Map, Value};

/// Keys of the input that are not part of the text.
const OTHER: [&str; 2] = ["title", "workspace"];
const TEXT: [&str; 3] = ["message", "dataset", "instructions"];

pub fn build(context: &Context) -> Result<String, Failure> {
    let empty = Map::new();
    let input = match context.get("/input") {
        Some(Value::Object(input)) => input,
        _ => &empty,
    };
    let mut parts: Vec<String> = Vec::new();
    if let Some(text) = context.optional("/input/message")? {
        parts.push(text.into());
    }
    if let Some(dataset) = context.get("/input/dataset") {
        parts.push(["Dataset: ", &plain(dataset)].concat());
    }
    if let Some(list) = instructions(context)? {
        parts.push(list);
    }
    if parts.is_empty() {
        return Err(Failure::module(
            "input.message is missing: give the job's spec.input a message, a dataset or instructions.".into(),
        ));
    }
    // Inserted one by one: `collect` would bring a sort of 5 KB into the component.
    let mut rest = Map::new();
    for (key, value) in input {
        if !TEXT.contains(&key.as_str()) && !OTHER.contains(&key.as_str()) && !value.is_null() {
            rest.insert(key.clone(), value.clone());
        }
    }
    if !rest.is_empty() {
        parts.push(["Further input: ", &Value::Object(rest).to_string()].concat());
    }
    Ok(parts.join("\n\n"))
}

fn instructions(context: &Context) -> Result<Option<String>, Failure> {
    let wrong = |found: &Value| {
        Failure::module(["input.instructions must be a string or a list of strings; found ", kind(found), "."].concat())
    };
    match context.get("/input/instructions") {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(["Instructions:\n", text].concat())),
        Some(Value::Array(items)) => {
            let mut text = String::from("Instructions:");
            for (index, item) in items.iter().enumerate() {
                let item = item.as_str().ok_or_else(|| wrong(item))?;
                text.push('\n');
                text.push_str(&(index + 1).to_string());
                text.push_str(". ");
                text.push_str(item);
            }
            Ok(Some(text).filter(|_| !items.is_empty()))
        }
        Some(other) => Err(wrong(other)),
    }
}

/// A string as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
