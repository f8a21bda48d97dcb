//! Machine detection: the carrier tells whether a person or an answering machine has answered.
//!
//! Only the asynchronous kind, which lets the call go on meanwhile, and only its verdict at once (`Enable`):
//! anything else is refused.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{
    callbacks::Callback,
    calls::Line,
    rest::{Fields, Refusal, field, is_web_url},
};

/// How long it listens.
const LISTENS: Duration = Duration::from_secs(2);

/// What a call was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Detection {
    /// Without one the verdict is only in the call's resource.
    callback: Option<String>,
}

impl Detection {
    /// Reads `MachineDetection`, `AsyncAmd`, `AsyncAmdStatusCallback` and `AsyncAmdStatusCallbackMethod`.
    pub(super) fn asked(fields: &Fields) -> Result<Option<Self>, Refusal> {
        let refused = |name: &str, why: &str| Err(Refusal::invalid(20001, format!("{name} {why}")));
        match field(fields, "MachineDetection") {
            None => return Ok(None),
            Some("Enable") => {}
            Some("DetectMessageEnd") => {
                return refused("MachineDetection", "DetectMessageEnd is not simulated");
            }
            Some(_) => return refused("MachineDetection", "must be Enable or DetectMessageEnd"),
        }
        if field(fields, "AsyncAmd") != Some("true") {
            return refused("AsyncAmd", "must be true: only asynchronous detection is simulated");
        }
        if !matches!(field(fields, "AsyncAmdStatusCallbackMethod"), None | Some("POST")) {
            return refused("AsyncAmdStatusCallbackMethod", "must be POST");
        }
        let callback = field(fields, "AsyncAmdStatusCallback");
        if callback.is_some_and(|url| !is_web_url(url)) {
            return refused("AsyncAmdStatusCallback", "is not a valid URL");
        }
        Ok(Some(Self { callback: callback.map(str::to_owned) }))
    }
}

/// Listens to who answered, if that was asked for, and reports it.
pub(super) async fn detect(line: &Line<'_>, is_machine: bool, answered: Instant) {
    let Some(detection) = &line.call.request.detection else { return };
    sleep_until(answered + LISTENS).await;
    let verdict = if is_machine { "machine_start" } else { "human" };
    line.call.state().answered_by = Some(verdict);
    let Some(url) = detection.callback.clone() else { return };
    let form = vec![
        ("CallSid", line.call.sid.clone()),
        ("AccountSid", line.call.account.sid.clone()),
        ("AnsweredBy", verdict.to_owned()),
        ("MachineDetectionDuration", answered.elapsed().as_millis().to_string()),
    ];
    line.send(Callback { url, status: verdict, form }).await;
}
