//! Starts a task of an agent that speaks the Agent2Agent protocol (A2A, version 1.0), follows it, and cancels it.
//!
//! The operator calls `run` once for each trigger; see README.md for the configuration and the calls made. What is read
//! and said in the same way as by build-session-message is one source with it (the links in this folder).

mod agent;
#[allow(dead_code)] // only the encoding of ids is of use here
mod api;
mod cancel;
#[allow(dead_code)]
mod context;
mod document;
mod failure;
mod message;
mod observe;
mod reply;
mod submit;
mod task;

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
    let agent = agent::Agent::of(&context)?;
    match context.text("/trigger")? {
        "Submit" => submit::run(&context, &agent),
        "Observe" => observe::run(&context, &agent),
        "Cancel" => cancel::run(&context, &agent),
        other => {
            Err(Failure::module(["trigger is ", other, "; this module knows Submit, Observe and Cancel."].concat()))
        }
    }
}

export!(Module);
