//! One call to the session service.

use crate::document::object;
use crate::failure::Failure;
use crate::host;
use serde_json::Value;

pub struct Answer {
    pub call: String,
    pub status: u64,
    body: String,
}

/// Sends a request. Any answer of the service, an error status too, is an `Answer`; a `Failure` is the host's refusal.
pub fn send(method: &str, url: &str, body: Option<&Value>) -> Result<Answer, Failure> {
    let call = [method, " ", url].concat();
    let json = || Value::from("application/json");
    let (headers, body) = match body {
        Some(body) => (object([("accept", json()), ("content-type", json())]), body.to_string().into()),
        None => (object([("accept", json())]), Value::Null),
    };
    let request = object([("method", method.into()), ("url", url.into()), ("headers", headers), ("body", body)]);
    match host::http_call(&request.to_string()) {
        Err(error) => Err(Failure::host(&call, &error)),
        Ok(response) => {
            let mut response: Value = serde_json::from_str(&response).unwrap_or(Value::Null);
            let status = response["status"].as_u64().unwrap_or(0);
            let body = match response["body"].take() {
                Value::String(text) => text,
                _ => String::new(),
            };
            Ok(Answer { call, status, body })
        }
    }
}

impl Answer {
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub fn failure(&self) -> Failure {
        Failure::status(&self.call, self.status, &self.body)
    }

    /// The answer of a successful call as JSON.
    pub fn json(self) -> Result<Value, Failure> {
        if !self.succeeded() {
            return Err(self.failure());
        }
        serde_json::from_str(&self.body).map_err(|_| {
            Failure::module(
                [&self.call, " answered ", &self.status.to_string(), " with a body that is not JSON."].concat(),
            )
        })
    }

    /// The answer of a call that creates something: it must carry an id.
    pub fn created(self) -> Result<(String, Value), Failure> {
        let call = self.call.clone();
        let document = self.json()?;
        let id = text(&document["id"]);
        if id.is_empty() {
            return Err(Failure::module([&call, " answered without an id."].concat()));
        }
        Ok((id, document))
    }
}

/// An id as text: many services number what they make. Empty for what is no id.
pub fn text(id: &Value) -> String {
    match id {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => String::new(),
    }
}

/// An id as one segment of a path: a service's id may hold any character, and must not reach another path.
pub fn segment(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'~')
            || (byte == b'.' && id.bytes().any(|b| b != b'.'))
        {
            out.push(byte as char);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(HEX[usize::from(byte >> 4)] as char);
            out.push(HEX[usize::from(byte & 15)] as char);
        }
    }
    out
}
