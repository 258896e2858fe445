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
        // What cannot be listed, and one that cannot be ended, keep none of the others.
        let (found, mut first) = made_by(agent, run);
        for id in found {
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

/// The tasks of a run that have not ended, and why there may be more of them. All pages are read before the first is
/// cancelled, which changes their order.
fn made_by(agent: &Agent, run: &str) -> (Vec<String>, Option<Failure>) {
    let mut found = Vec::new();
    let failure = list(agent, run, &mut found).err();
    (found, failure)
}

fn list(agent: &Agent, run: &str, found: &mut Vec<String>) -> Result<(), Failure> {
    if !agent.lists {
        host::log(
            "warning",
            &["what run ", run, " may have started is not looked for: config.list_tasks is no"].concat(),
        );
        return Ok(());
    }
    let context = agent.own_context.then_some(run);
    let mut nameless = None;
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
                if task::ended(task::state(each)) {
                    continue;
                }
                if task::made_by(each, run) {
                    found.push(id.into());
                } else if context.is_some() && each["contextId"].as_str().unwrap_or("").is_empty() {
                    // It may be one of the run's, by the filter, or anybody's, if the agent filters nothing.
                    nameless = Some(Failure::module(
                        [
                            "ListTasks answered task ",
                            id,
                            " without a context id, so whether run ",
                            run,
                            " has made it is not known.",
                        ]
                        .concat(),
                    ));
                }
            }
        }
        let next = listed["nextPageToken"].as_str().unwrap_or("");
        if next.is_empty() || next == page {
            return nameless.map_or(Ok(()), Err);
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
