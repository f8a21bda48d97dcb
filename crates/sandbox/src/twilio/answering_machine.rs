//! Answering machine detection: the carrier tells whether a person or a machine has answered.
//!
//! Only the asynchronous kind is simulated, which lets the call go on meanwhile, and only its immediate verdict
//! (`Enable`).

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{callbacks::Callback, line::CallLine};

/// How long it listens.
const LISTENS: Duration = Duration::from_secs(2);

/// Listens to who answered, if that was asked for, and reports it.
pub(super) async fn detect(line: &CallLine<'_>, is_machine: bool, answered: Instant) {
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
