//! Cancel: ends the given task, or whatever tasks the run has made.

use crate::agent::{failed, Agent, Call};
use crate::context::Context;
use crate::document::object;
use crate::failure::Failure;
use crate::reply::{Kind, Reply};
use crate::{host, task};
use serde_json::Value;

pub fn run(context: &Context, agent: &Agent) -> Result<Value, Failure> {
    if context.get("/session").is_some() {
        end(agent, context.text("/session/id")?)?;
    } else {
        let run = context.text("/run/id")?;
        let mut first = None;
        // One that cannot be ended keeps none of the others.
        for id in made_by(agent, run)? {
            if let Err(failure) = end(agent, &id) {
                host::log("error", &failure.message);
                first = first.or(Some(failure));
            }
        }
        if let Some(failure) = first {
            return Err(failure);
        }
    }
    Ok(object([("action", "Cancelled".into())]))
}

/// The tasks of a run that have not ended. All pages are read before the first is cancelled, which changes their order.
fn made_by(agent: &Agent, run: &str) -> Result<Vec<String>, Failure> {
    if !agent.lists {
        host::log(
            "warning",
            &["what run ", run, " may have started is not looked for: config.list_tasks is no"].concat(),
        );
        return Ok(Vec::new());
    }
    let context = agent.own_context.then_some(run);
    let mut found = Vec::new();
    let mut page = String::new();
    loop {
        let listed = match agent.call(&Call::List { context, page: &page })? {
            Reply::Result(listed) => listed,
            Reply::Error(fault) if fault.kind == Kind::Unsupported => {
                return Err(Failure::module(
                    [
                        "the agent cannot list its tasks, so what run ",
                        run,
                        " may have started is not known (",
                        &fault.message,
                        "); if that is accepted, set config.list_tasks to no.",
                    ]
                    .concat(),
                ));
            }
            Reply::Error(fault) => return Err(failed("ListTasks", &fault)),
        };
        for each in listed["tasks"].as_array().into_iter().flatten() {
            if let Some(id) = each["id"].as_str() {
                if task::made_by(each, run) && !task::ended(task::state(each)) {
                    found.push(id.into());
                }
            }
        }
        let next = listed["nextPageToken"].as_str().unwrap_or("");
        if next.is_empty() || next == page {
            return Ok(found);
        }
        page = next.into();
    }
}

/// Ends a task. That it cannot be cancelled is fine if it has ended; an agent says the same of one that it lets go on.
fn end(agent: &Agent, id: &str) -> Result<(), Failure> {
    let after = match agent.call(&Call::Cancel(id))? {
        Reply::Result(after) => after,
        Reply::Error(fault) if fault.kind == Kind::NotFound => return Ok(()),
        Reply::Error(fault) => match agent.call(&Call::Get(id))? {
            Reply::Result(now) if task::ended(task::state(&now)) => return Ok(()),
            Reply::Error(gone) if gone.kind == Kind::NotFound => return Ok(()),
            _ => return Err(failed(&["CancelTask of ", id].concat(), &fault)),
        },
    };
    let state = task::state(&after);
    if !task::ended(state) {
        return Err(Failure::unfinished(
            ["CancelTask of ", id, " was accepted, and the task is still ", state, "."].concat(),
        ));
    }
    host::log("info", &["cancelled task ", id].concat());
    Ok(())
}
