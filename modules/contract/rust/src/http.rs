//! Calls to an HTTP service that speaks JSON, and which failures may pass.

use crate::bindings::curation::guest::host;
use crate::documents::Failure;
use percent_encoding::{utf8_percent_encode, NON_ALPHANUMERIC};
use serde::de::DeserializeOwned;
use serde::Deserialize;
use serde_json::{json, Value};

pub struct Service<'a> {
    base: &'a str,
}

pub struct Reply {
    call: String,
    pub status: u16,
    body: String,
}

/// The documents of `http-call`: a response of any status, or the host's own refusal.
#[derive(Deserialize)]
struct Response {
    status: u16,
    body: String,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
}

impl<'a> Service<'a> {
    /// Paths are put behind the base URL, so that it may have neither a query nor a fragment.
    pub fn new(base: &'a str) -> Result<Self, Failure> {
        let base = base.trim();
        if base.contains(|each: char| each.is_whitespace() || matches!(each, '?' | '#')) {
            return Err(Failure::new(format!(
                "config.api_url must be a base URL alone, without blanks, a query (?) or a fragment (#); found {base}"
            )));
        }
        Ok(Service { base: base.trim_end_matches('/') })
    }

    pub fn get(&self, path: &str) -> Result<Reply, Failure> {
        self.send("GET", path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Reply, Failure> {
        self.send("POST", path, Some(body.to_string()))
    }

    /// Whatever the service answers, an error status too, is a `Reply`; a `Failure` is that there was no answer.
    fn send(&self, method: &str, path: &str, body: Option<String>) -> Result<Reply, Failure> {
        let call = format!("{method} {}{path}", self.base);
        let request = json!({
            "method": method,
            "url": format!("{}{path}", self.base),
            "headers": {"accept": "application/json", "content-type": "application/json"},
            "body": body,
        });
        match host::http_call(&request.to_string()) {
            Ok(response) => {
                let Response { status, body } = serde_json::from_str(&response)
                    .map_err(|error| Failure::new(format!("{call}: the host's response: {error}")))?;
                Ok(Reply { call, status, body })
            }
            Err(refusal) => Err(Failure::new(match serde_json::from_str(&refusal) {
                Ok(Refusal { code, message }) => format!("{call}: {code}: {message}"),
                Err(_) => format!("{call}: {refusal}"),
            })),
        }
    }
}

impl Reply {
    /// The body of a success. Overload and server errors may pass; any other status says that the request is wrong.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Failure> {
        let Reply { call, status, body } = self;
        match status {
            200..=299 => serde_json::from_str(&body).map_err(|error| {
                Failure::new(format!("{call} answered {status} with another body than expected: {error}"))
            }),
            408 | 429 | 500.. => Err(Failure::unavailable(format!("{call} answered {status}: {}", start(&body)))),
            _ => Err(Failure::new(format!("{call} answered {status}: {}", start(&body)))),
        }
    }
}

/// An id as one segment of a path: the service may put any character into it, and a slash would reach another path.
pub fn segment(id: &str) -> String {
    utf8_percent_encode(id, NON_ALPHANUMERIC).to_string()
}

fn start(body: &str) -> String {
    body.chars().take(300).collect()
}
