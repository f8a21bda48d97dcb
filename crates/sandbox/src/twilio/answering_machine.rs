//! Answering machine detection (AMD): the carrier decides whether a person or a machine has answered.
//!
//! Only the asynchronous kind is simulated, during which the call goes on, and only with an immediate verdict (`Enable`).

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{callbacks::Callback, line::CallLine};

/// Duration of the detection.
const LISTENS: Duration = Duration::from_secs(2);

/// Decides who answered and reports it, if the call asked for detection.
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
