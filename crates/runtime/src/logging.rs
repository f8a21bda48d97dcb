//! The process's `tracing` subscriber: standard output, INFO unless `AWS_LAMBDA_LOG_LEVEL` or `RUST_LOG` say otherwise.
//!
//! A line carries the fields of its event and of all spans around it; see [`spans`](crate::spans).

use std::{io, panic, str::FromStr};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    filter::LevelFilter,
    fmt::{MakeWriter, SubscriberBuilder},
    util::SubscriberInitExt,
};

use crate::Vars;

/// Where the lines go, which decides their form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// CloudWatch, by Lambda: it adds the time. JSON if `AWS_LAMBDA_LOG_FORMAT` asks for it, else text.
    Lambda,
    /// A container's log: JSON with the time.
    Worker,
}

/// Sets the subscriber of this process, and has panics logged through it, within the span that they happen in.
pub(crate) fn init(output: Output, vars: &Vars) {
    let subscriber = subscriber(output, vars, io::stdout);
    // Fails only if a test has set one already.
    let _ = subscriber.try_init();
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, panic = panic_message(panic.payload()), "panicked");
    }));
}

fn panic_message(payload: &(dyn std::any::Any + Send)) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// The subscriber of the worker's process, for a test that reads the lines.
pub fn worker_subscriber<W>(vars: &Vars, writer: W) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    subscriber(Output::Worker, vars, writer)
}

fn subscriber<W>(output: Output, vars: &Vars, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder =
        SubscriberBuilder::default().with_target(false).with_env_filter(filter(vars)).with_writer(writer);
    let is_json =
        || vars.get("AWS_LAMBDA_LOG_FORMAT").is_some_and(|format| format.eq_ignore_ascii_case("json"));
    match output {
        Output::Worker => Box::new(builder.json().finish()),
        Output::Lambda if is_json() => Box::new(builder.without_time().json().finish()),
        Output::Lambda => Box::new(builder.without_time().finish()),
    }
}

/// The directives of `RUST_LOG`, on top of one level for all: the one of `AWS_LAMBDA_LOG_LEVEL`, else INFO.
fn filter(vars: &Vars) -> EnvFilter {
    let level = vars.get("AWS_LAMBDA_LOG_LEVEL").and_then(|level| LevelFilter::from_str(&level).ok());
    EnvFilter::builder()
        .with_default_directive(level.unwrap_or(LevelFilter::INFO).into())
        .parse_lossy(vars.get("RUST_LOG").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use switchboard_model::{
        ids::{AccountId, ConversationId},
        time::Timestamp,
    };
    use switchboard_testkit::log_lines::LogLines;

    use super::*;
    use crate::spans;

    fn log(output: Output, vars: &Vars, work: impl FnOnce()) -> String {
        let lines = LogLines::default();
        let writer = lines.clone();
        tracing::subscriber::with_default(subscriber(output, vars, move || writer.clone()), work);
        lines.text()
    }

    #[test]
    fn a_line_of_the_worker_is_json_with_the_ids_of_its_call() {
        let at = Timestamp::from_millis(1_795_339_800_120);
        let (account_id, conversation_id) = (AccountId::new(at, 1), ConversationId::new(at, 2));
        let line = log(Output::Worker, &Vars::default(), || {
            spans::call(account_id, conversation_id, "CA1").in_scope(|| tracing::info!("call answered"));
        });
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["fields"]["message"], "call answered");
        assert_eq!(line["span"]["account_id"], account_id.to_string());
        assert_eq!(line["span"]["conversation_id"], conversation_id.to_string());
        assert_eq!(line["span"]["call_sid"], "CA1");
        assert!(line["timestamp"].is_string());
    }

    #[test]
    fn ids_that_become_known_later_are_added_to_the_span() {
        let at = Timestamp::from_millis(1_795_339_800_120);
        let (account_id, conversation_id) = (AccountId::new(at, 1), ConversationId::new(at, 2));
        let vars = Vars::from([("AWS_LAMBDA_LOG_FORMAT", "JSON")]);
        let line = log(Output::Lambda, &vars, || {
            spans::request("r-1").in_scope(|| {
                spans::record_conversation(account_id, conversation_id);
                spans::record_call_sid("CA1");
                tracing::info!("call status applied");
            });
        });
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["span"]["request_id"], "r-1");
        assert_eq!(line["span"]["conversation_id"], conversation_id.to_string());
        assert_eq!(line["span"]["call_sid"], "CA1");
    }

    #[test]
    fn info_is_logged_and_debug_is_not() {
        for output in [Output::Lambda, Output::Worker] {
            let lines = log(output, &Vars::default(), || {
                tracing::debug!("hidden");
                tracing::info!("shown");
            });
            assert!(lines.contains("shown") && !lines.contains("hidden"), "{lines}");
        }
    }

    #[test]
    fn the_level_of_lambda_is_obeyed() {
        let vars = Vars::from([("AWS_LAMBDA_LOG_LEVEL", "ERROR")]);
        let lines = log(Output::Lambda, &vars, || {
            tracing::warn!("hidden");
            tracing::error!("shown");
        });
        assert!(lines.contains("shown") && !lines.contains("hidden"), "{lines}");
    }
}
