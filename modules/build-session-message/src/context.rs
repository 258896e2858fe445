//! The context document: reading it with errors that name the field.

use crate::failure::Failure;
use serde_json::Value;

pub struct Context(Value);

impl Context {
    pub fn parse(document: &str) -> Result<Self, Failure> {
        match serde_json::from_str(document) {
            Ok(value) => Ok(Context(value)),
            Err(_) => Err(Failure::module("The context is not JSON.".into())),
        }
    }

    /// A value by JSON pointer; null and absent are the same.
    pub fn get(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer).filter(|value| !value.is_null())
    }

    /// A string that may be left out. Empty counts as left out.
    pub fn optional(&self, pointer: &str) -> Result<Option<&str>, Failure> {
        match self.get(pointer) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(other) => {
                Err(Failure::module([&name(pointer), " must be a string; found ", kind(other), "."].concat()))
            }
        }
    }

    /// A string that must be there.
    pub fn text(&self, pointer: &str) -> Result<&str, Failure> {
        match self.optional(pointer)? {
            Some(text) => Ok(text),
            None => Err(Failure::module([&name(pointer), " is missing."].concat())),
        }
    }

    /// The service's base URL, without a slash at its end.
    pub fn api_url(&self) -> Result<&str, Failure> {
        let Some(url) = self.optional("/config/api_url")? else {
            return Err(Failure::module(
                "config.api_url is missing: set spec.config.api_url of the job or of the module to the session \
                 service's base URL, such as https://sessions.example/v1."
                    .into(),
            ));
        };
        let url = url.trim();
        if url.bytes().any(|byte| byte <= b' ' || matches!(byte, b'?' | b'#')) {
            return Err(Failure::module(
                [
                    "config.api_url must be a base URL alone, without blanks, a query (?) or a fragment (#), since paths \
                     are put behind it; found ",
                    url,
                    ".",
                ]
                .concat(),
            ));
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Failure::module(
                ["config.api_url must start with http:// or https://; found ", url, "."].concat(),
            ));
        }
        Ok(url.trim_end_matches('/'))
    }
}

/// `/config/api_url` as a person writes it: `config.api_url`.
fn name(pointer: &str) -> String {
    let mut name = String::with_capacity(pointer.len());
    for part in pointer.split('/').filter(|part| !part.is_empty()) {
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(part);
    }
    name
}

pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
