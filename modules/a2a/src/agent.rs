//! The agent: where it is, which binding of the protocol it speaks, and one call to it.
//!
//! Source: the A2A specification 1.0, sections 5.3 (methods), 9 (JSON-RPC) and 11 (HTTP+JSON).

use crate::context::Context;
use crate::document::object;
use crate::failure::Failure;
use crate::reply::{Fault, Kind, Reply};
use crate::{api, host};
use serde_json::{Map, Value};

const VERSION: &str = "1.0";

pub struct Agent<'a> {
    url: &'a str,
    rest: bool,
    tenant: Option<&'a str>,
    /// Whether the run's id travels as the context id. Else the agent makes its own, and only metadata carries it.
    pub own_context: bool,
    /// Whether it has ListTasks.
    pub lists: bool,
}

pub enum Call<'a> {
    Send(Value),
    Get(&'a str),
    List { context: Option<&'a str>, page: &'a str },
    Cancel(&'a str),
}

impl<'a> Agent<'a> {
    pub fn of(context: &'a Context) -> Result<Self, Failure> {
        let binding = one_of(context, "binding", "JSONRPC", "HTTP+JSON")?;
        Ok(Agent {
            url: url(context)?,
            rest: !binding,
            tenant: context.optional("/config/tenant")?,
            own_context: one_of(context, "context_id", "run", "agent")?,
            lists: one_of(context, "list_tasks", "yes", "no")?,
        })
    }

    /// Makes a call. Any answer of the agent, an error of its protocol too, is a `Reply`.
    pub fn call(&self, call: &Call) -> Result<Reply, Failure> {
        let (method, url, body) = if self.rest { self.resource(call) } else { self.procedure(call) };
        let media = if self.rest { "application/a2a+json" } else { "application/json" };
        let accept = if self.rest { "application/a2a+json, application/json" } else { media };
        let mut headers = Map::new();
        headers.insert("accept".into(), accept.into());
        headers.insert("a2a-version".into(), VERSION.into());
        if body.is_some() {
            headers.insert("content-type".into(), media.into());
        }
        let text = body.map_or(Value::Null, |body| body.to_string().into());
        let request = object([
            ("method", method.into()),
            ("url", url.as_str().into()),
            ("headers", Value::Object(headers)),
            ("body", text),
        ]);
        let name = [call.name(), " at ", &url].concat();
        match host::http_call(&request.to_string()) {
            Err(error) => Err(Failure::host(&name, &error)),
            Ok(response) => Reply::of(&name, &response, self.rest, |status| call.absent(status)),
        }
    }

    fn procedure(&self, call: &Call) -> (&'static str, String, Option<Value>) {
        let mut params = match call {
            Call::Send(request) => request.as_object().cloned().unwrap_or_default(),
            _ => Map::new(),
        };
        match call {
            Call::Send(_) => {}
            Call::Get(id) => {
                params.insert("id".into(), (*id).into());
                params.insert("historyLength".into(), 0.into());
            }
            Call::Cancel(id) => {
                params.insert("id".into(), (*id).into());
            }
            Call::List { .. } => {
                for (name, value) in call.query() {
                    params.insert(name.into(), value);
                }
            }
        }
        if let Some(tenant) = self.tenant {
            params.insert("tenant".into(), tenant.into());
        }
        let body = object([
            ("jsonrpc", "2.0".into()),
            ("id", 1.into()),
            ("method", call.name().into()),
            ("params", Value::Object(params)),
        ]);
        ("POST", self.url.into(), Some(body))
    }

    fn resource(&self, call: &Call) -> (&'static str, String, Option<Value>) {
        let mut url = String::from(self.url.trim_end_matches('/'));
        if let Some(tenant) = self.tenant {
            url.push('/');
            url.push_str(&api::segment(tenant));
        }
        match call {
            Call::Send(request) => {
                url.push_str("/message:send");
                ("POST", url, Some(request.clone()))
            }
            Call::Get(id) => {
                url.push_str("/tasks/");
                url.push_str(&api::segment(id));
                url.push_str("?historyLength=0");
                ("GET", url, None)
            }
            Call::List { .. } => {
                url.push_str("/tasks");
                let mut sign = '?';
                for (name, value) in call.query() {
                    url.push(sign);
                    url.push_str(name);
                    url.push('=');
                    url.push_str(&api::segment(&api::text(&value)));
                    sign = '&';
                }
                ("GET", url, None)
            }
            Call::Cancel(id) => {
                url.push_str("/tasks/");
                url.push_str(&api::segment(id));
                url.push_str(":cancel");
                ("POST", url, Some(object([])))
            }
        }
    }
}

impl Call<'_> {
    fn name(&self) -> &'static str {
        match self {
            Call::Send(_) => "SendMessage",
            Call::Get(_) => "GetTask",
            Call::List { .. } => "ListTasks",
            Call::Cancel(_) => "CancelTask",
        }
    }

    /// Trap: that the address of a cancellation does not exist says nothing of the task, which may well be at work.
    fn absent(&self, status: u64) -> Option<Kind> {
        match self {
            Call::Send(_) => None,
            Call::Get(_) if matches!(status, 404 | 410) => Some(Kind::NotFound),
            Call::Get(_) | Call::List { .. } | Call::Cancel(_) => Some(Kind::Unsupported),
        }
    }

    fn query(&self) -> Vec<(&'static str, Value)> {
        let Call::List { context, page } = self else { return Vec::new() };
        let mut query: Vec<(&'static str, Value)> = Vec::new();
        match context {
            Some(context) => {
                query.push(("contextId", (*context).into()));
                query.push(("pageSize", 100.into()));
                query.push(("historyLength", 0.into()));
            }
            // Of tasks of others the first messages are looked at, so pages are small.
            None => {
                query.push(("pageSize", 50.into()));
                query.push(("historyLength", 10.into()));
            }
        }
        if !page.is_empty() {
            query.push(("pageToken", (*page).into()));
        }
        query
    }
}

/// An error of the protocol in words, as the failure of a run.
pub fn failed(call: &str, fault: &Fault) -> Failure {
    Failure::module([call, " failed: ", &fault.message].concat())
}

/// Whether a key of the configuration is the first of two words, which is its default, or the second.
fn one_of(context: &Context, key: &str, first: &str, second: &str) -> Result<bool, Failure> {
    match context.optional(&["/config/", key].concat())? {
        None => Ok(true),
        Some(word) if word == first => Ok(true),
        Some(word) if word == second => Ok(false),
        Some(word) => {
            Err(Failure::module(["config.", key, " must be ", first, " or ", second, "; found ", word, "."].concat()))
        }
    }
}

/// The URL of the agent's interface, as its card has it: for JSON-RPC a slash at its end makes another one.
fn url(context: &Context) -> Result<&str, Failure> {
    let Some(url) = context.optional("/config/api_url")? else {
        return Err(Failure::module(
            "config.api_url is missing: set spec.config.api_url of the job or of the module to the url of one of the \
             supportedInterfaces in the agent's card, such as https://agent.example/a2a."
                .into(),
        ));
    };
    let url = url.trim();
    if url.bytes().any(|byte| byte <= b' ' || matches!(byte, b'?' | b'#')) {
        return Err(Failure::module(
            ["config.api_url must be a URL without blanks, a query (?) or a fragment (#); found ", url, "."].concat(),
        ));
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(Failure::module(["config.api_url must start with http:// or https://; found ", url, "."].concat()));
    }
    Ok(url)
}
