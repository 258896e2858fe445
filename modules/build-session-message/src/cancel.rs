//! Cancel: ends the given session, or whatever the run has created.

use crate::context::Context;
use crate::document::object;
use crate::failure::Failure;
use crate::{api, host};
use serde_json::Value;

pub fn run(context: &Context) -> Result<Value, Failure> {
    let base = context.api_url()?;
    let (collection, id) = match context.get("/session") {
        Some(_) => ("sessions", context.text("/session/id")?),
        None => ("runs", context.text("/run/id")?),
    };
    let url = [base, "/", collection, "/", &api::segment(id), "/cancel"].concat();
    let answer = api::send("POST", &url, Some(&object([])))?;
    // Gone, unknown or already ended: there is nothing left to cancel.
    if !answer.succeeded() && !matches!(answer.status, 404 | 409 | 410) {
        return Err(answer.failure());
    }
    host::log("info", &["cancelled ", collection, "/", id].concat());
    Ok(object([("action", "Cancelled".into())]))
}
