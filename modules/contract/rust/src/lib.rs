//! The contract of the Curation Operator's modules: its documents, calls to a service that speaks JSON, and failures.
//!
//! A module is a function for each trigger, and one line: `curation_guest::module!(submit, observe, cancel);`.
//! `docs/write-a-module.md` of the operator explains the contract.

mod documents;
mod http;

#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "guest",
        pub_export_macro: true,
        default_bindings_module: "curation_guest::bindings",
    });
}

pub use documents::{id, object, text_id, Context, Failure, Job, Outcome, Run, Session, Trigger};
pub use http::{segment, Reply, Service};

use bindings::curation::guest::host;

/// What a trigger's function gives.
pub type Result<T = Outcome, E = Failure> = std::result::Result<T, E>;

/// Makes the component's export of a function for each trigger, `fn(&Context) -> curation_guest::Result`.
#[macro_export]
macro_rules! module {
    ($submit:path, $observe:path, $cancel:path $(,)?) => {
        struct CurationModule;

        impl $crate::bindings::Guest for CurationModule {
            fn run(context: String) -> ::std::result::Result<String, String> {
                $crate::run(&context, |context| match context.trigger {
                    $crate::Trigger::Submit => $submit(context),
                    $crate::Trigger::Observe => $observe(context),
                    $crate::Trigger::Cancel => $cancel(context),
                })
            }
        }

        $crate::bindings::export!(CurationModule with_types_in $crate::bindings);
    };
}

/// A line for the run's log.
pub fn info(message: &str) {
    host::log("info", message);
}

/// The result of the export `run` for the context that the operator gave; `module!` calls it.
///
/// It is called once for each trigger, each time in a new instance: nothing stays in memory until the next call.
#[doc(hidden)]
pub fn run(document: &str, trigger: impl FnOnce(&Context) -> Result) -> std::result::Result<String, String> {
    // A panic ends the run as a trap, and a trap says nothing: this is the only way for its message into the log.
    std::panic::set_hook(Box::new(|panic| host::log("error", &panic.to_string())));
    let context = serde_json::from_str(document).map_err(|error| Failure::new(format!("the context: {error}")));
    let result = context.and_then(|context| trigger(&context));
    result.map(|outcome| text(&outcome)).map_err(|failure| {
        host::log("error", &failure.message);
        text(&failure)
    })
}

fn text(document: &impl serde::Serialize) -> String {
    serde_json::to_string(document).unwrap_or_default()
}
