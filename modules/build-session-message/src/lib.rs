//! Starts an agent session for a curation job on a session service, follows it, and cancels it.
//!
//! The operator calls `run` once for each trigger; see README.md for the input, the configuration and the calls made.

mod api;
mod cancel;
mod context;
mod document;
mod failure;
mod message;
mod observe;
mod submit;

use context::Context;
use failure::Failure;
use serde_json::Value;

wit_bindgen::generate!({ path: "wit", world: "guest" });

use curation::guest::host;

struct Module;

impl Guest for Module {
    fn run(context: String) -> Result<String, String> {
        match dispatch(&context) {
            Ok(result) => Ok(result.to_string()),
            Err(failure) => {
                host::log("error", &failure.message);
                Err(failure.to_json())
            }
        }
    }
}

fn dispatch(document: &str) -> Result<Value, Failure> {
    let context = Context::parse(document)?;
    match context.text("/trigger")? {
        "Submit" => submit::run(&context),
        "Observe" => observe::run(&context),
        "Cancel" => cancel::run(&context),
        other => {
            Err(Failure::module(["trigger is ", other, "; this module knows Submit, Observe and Cancel."].concat()))
        }
    }
}

export!(Module);
