//! A call with its carrier and its channel for callbacks, as the parts of a call share it.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    api::rfc_2822,
    call_record::{Call, StatusEvent},
    callbacks::{Callback, Form},
    carrier::Carrier,
    special_numbers::LOST,
    twiml,
};
use crate::clock;

/// A call and its callbacks.
pub(super) struct CallLine<'a> {
    pub(super) carrier: &'a Carrier,
    pub(super) call: &'a Arc<Call>,
    pub(super) reports: mpsc::Sender<Callback>,
    /// The sequence number of the next status callback.
    pub(super) sequence: u32,
}

impl CallLine<'_> {
    /// The fields that every webhook about the call has.
    pub(super) fn identity(&self, status: &str) -> Form {
        let request = &self.call.request;
        let mut form = vec![
            ("CallSid", self.call.sid.clone()),
            ("AccountSid", self.call.account.sid.clone()),
            ("ApiVersion", "2010-04-01".to_owned()),
            ("CallStatus", status.to_owned()),
            ("Direction", self.call.direction.as_str().to_owned()),
            ("From", request.from.clone()),
            ("Caller", request.from.clone()),
            ("To", request.to.clone()),
            ("Called", request.to.clone()),
        ];
        // Unknown places are sent as empty fields, and signed, too.
        let places = [
            ("FromCountry", "US"),
            ("FromState", "CA"),
            ("FromCity", "SAN FRANCISCO"),
            ("FromZip", ""),
            ("ToCountry", "US"),
            ("ToState", "CA"),
            ("ToCity", ""),
            ("ToZip", ""),
        ];
        form.extend(places.map(|(name, value)| (name, value.to_owned())));
        form
    }

    pub(super) async fn report(&mut self, event: StatusEvent, status: &'static str, more: Form) {
        let request = &self.call.request;
        let wanted = request.to != LOST && request.events.contains(&event);
        let Some(url) = request.status_callback.clone().filter(|_| wanted) else {
            return;
        };
        let mut form = self.identity(status);
        form.extend([
            ("CallbackSource", "call-progress-events".to_owned()),
            ("Timestamp", rfc_2822(clock::now())),
            ("SequenceNumber", self.sequence.to_string()),
        ]);
        form.extend(more);
        self.sequence += 1;
        self.send(Callback { url, status, form }).await;
    }

    /// Reports an event of a media stream, if the stream has a status callback.
    pub(super) async fn report_stream(
        &self,
        stream: &twiml::Stream,
        stream_sid: &str,
        event: &'static str,
        error: Option<String>,
    ) {
        let Some(url) = stream.status_callback.clone() else { return };
        let mut form = vec![
            ("CallSid", self.call.sid.clone()),
            ("AccountSid", self.call.account.sid.clone()),
            ("StreamSid", stream_sid.to_owned()),
            ("StreamName", stream.name.clone().unwrap_or_else(|| stream_sid.to_owned())),
            ("StreamEvent", event.to_owned()),
            ("Timestamp", clock::now().to_string()),
        ];
        form.extend(error.map(|error| ("StreamError", error)));
        self.send(Callback { url, status: event, form }).await;
    }

    pub(super) async fn send(&self, callback: Callback) {
        // Fails only while the sandbox stops.
        let _ = self.reports.send(callback).await;
    }
}
