//! The records of calls, each shared by the task of its call and the servers.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::account::Account;
use crate::{callers::What, ids};

/// Maximum number of finished calls; the oldest is removed.
const FINISHED_LIMIT: usize = 1000;
/// How long a call rings unless the request says otherwise.
pub(super) const TIMEOUT_DEFAULT: Duration = Duration::from_mins(1);
/// How long an answered call may last unless the request says otherwise.
pub(super) const TIME_LIMIT_DEFAULT: Duration = Duration::from_hours(4);

/// The status of a call, as in the REST API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Queued,
    Ringing,
    InProgress,
    Completed,
    Busy,
    Failed,
    NoAnswer,
    Canceled,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Ringing => "ringing",
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::NoAnswer => "no-answer",
            Self::Canceled => "canceled",
        }
    }

    pub(super) fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Ringing | Self::InProgress)
    }
}

/// The side that ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EndedBy {
    /// The account: over REST, by its `TwiML`, or because that was finished.
    Agent,
    /// The person.
    Caller,
    /// The carrier: not reached, over the time limit, or after an error.
    Carrier,
}

/// Events of status callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatusEvent {
    Initiated,
    Ringing,
    Answered,
    /// Any final status.
    Completed,
}

impl StatusEvent {
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "initiated" => Some(Self::Initiated),
            "ringing" => Some(Self::Ringing),
            "answered" => Some(Self::Answered),
            "completed" => Some(Self::Completed),
            _ => None,
        }
    }
}

/// The place of the next `TwiML` document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Instructions {
    Inline(String),
    At {
        url: String,
        get: bool,
    },
    /// It was fetched from there already.
    Fetched {
        url: String,
        document: String,
    },
}

/// A validated request for a call.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) to: String,
    pub(super) from: String,
    pub(super) instructions: Instructions,
    /// Asked for a document if the document's own URL fails.
    pub(super) fallback: Option<Box<Instructions>>,
    pub(super) status_callback: Option<String>,
    pub(super) events: Vec<StatusEvent>,
    /// Maximum time of ringing.
    pub(super) timeout: Duration,
    /// Maximum duration after the answer.
    pub(super) time_limit: Duration,
    /// Answering machine detection, if requested.
    pub(super) detection: Option<Detection>,
}

/// A request for answering machine detection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Detection {
    /// The URL for the verdict; without one it is only in the call's resource.
    pub(super) callback: Option<String>,
}

/// A command of the REST API to a live call.
#[derive(Debug)]
pub(super) enum Command {
    End,
    Redirect(Instructions),
}

/// An error with Twilio's code.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(super) struct CallError {
    pub(super) code: u32,
    pub(super) message: String,
}

/// An act of the person. Times are milliseconds since the call was answered.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) at_ms: u64,
    pub(super) until_ms: u64,
    pub(super) what: What,
    /// The words, the name of the sound, or the keys.
    pub(super) text: String,
}

/// Recognised speech. Times are milliseconds since the call was answered.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(super) struct Speech {
    pub(super) at_ms: u64,
    pub(super) until_ms: u64,
    pub(super) text: String,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(super) struct CallbackRecord {
    pub(super) status: &'static str,
    /// Null without a response.
    pub(super) http_status: Option<u16>,
}

/// Totals over the media streams of a call.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
pub(super) struct Media {
    /// Number of streams.
    pub(super) streams: u64,
    /// `media` messages from the agent.
    pub(super) frames_received: u64,
    /// Bytes of audio in them.
    pub(super) bytes_received: u64,
    /// `media` messages to the agent.
    pub(super) frames_sent: u64,
    pub(super) clears: u64,
    /// `mark` messages from the agent.
    pub(super) marks: u64,
    /// The longest silence around a change of streams: from the last sound of either side on one stream to the first sound
    /// on the next; 0 without a change.
    pub(super) longest_silence_ms: u64,
    /// The longest time for which the agent's audio had run out in the middle of a clause: how late a frame was.
    pub(super) longest_gap_ms: u64,
}

/// The changing part of a record.
#[derive(Debug)]
pub(super) struct State {
    pub(super) status: Status,
    pub(super) updated: Timestamp,
    pub(super) answered: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    /// Whole seconds; known once the call has ended.
    pub(super) duration: Option<u64>,
    pub(super) ended_by: Option<EndedBy>,
    pub(super) error: Option<CallError>,
    pub(super) callbacks: Vec<CallbackRecord>,
    pub(super) said: Vec<Done>,
    /// Milliseconds since the call was answered.
    pub(super) hung_up_ms: Option<u64>,
    /// The verdict of answering machine detection.
    pub(super) answered_by: Option<&'static str>,
    /// Ordered by time.
    pub(super) heard: Vec<Speech>,
    pub(super) media: Media,
    /// Whether the record is final.
    pub(super) settled: bool,
}

/// The direction of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// A person calls a number of the account.
    Inbound,
    /// The account calls a person.
    Outbound,
}

impl Direction {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound-api",
        }
    }
}

/// The record of a call.
pub(super) struct Call {
    /// `CA` and 32 hexadecimal digits.
    pub(super) sid: String,
    /// The account that it belongs to.
    pub(super) account: Arc<Account>,
    pub(super) direction: Direction,
    /// The order of creation.
    number: u64,
    pub(super) request: Request,
    pub(super) created: Timestamp,
    /// Commands to the task of the call.
    pub(super) commands: mpsc::Sender<Command>,
    state: Mutex<State>,
}

impl Call {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No operation panics under the lock, and a half-written record is still worth reading.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record_callback(&self, status: &'static str, http_status: Option<u16>) {
        self.state().callbacks.push(CallbackRecord { status, http_status });
    }

    pub(super) fn record_said(&self, done: Done) {
        self.state().said.push(done);
    }

    /// Inserts by time, because recognition may finish out of order.
    pub(super) fn record_heard(&self, speech: Speech) {
        let mut state = self.state();
        let place = state.heard.partition_point(|other| other.at_ms <= speech.at_ms);
        state.heard.insert(place, speech);
    }

    /// Keeps the first error; later ones are its consequences.
    pub(super) fn record_error(&self, code: u32, message: impl Into<String>) {
        let mut state = self.state();
        if state.error.is_none() {
            state.error = Some(CallError { code, message: message.into() });
        }
    }

    /// The record for tests and reports, including facts that a customer of a carrier cannot know.
    pub(super) fn inspection(&self) -> Value {
        let state = self.state();
        let millisecond = |time: Option<Timestamp>| time.map(Timestamp::as_millisecond);
        json!({
            "sid": self.sid,
            "account_sid": self.account.sid,
            "direction": self.direction.as_str(),
            "to": self.request.to,
            "from": self.request.from,
            "status": state.status.as_str(),
            "ended_by": state.ended_by,
            "error": state.error,
            "dialled_at_ms": self.created.as_millisecond(),
            "answered_at_ms": millisecond(state.answered),
            "ended_at_ms": millisecond(state.ended),
            "answered_by": state.answered_by,
            "said": state.said,
            "hung_up_ms": state.hung_up_ms,
            "heard": state.heard,
            "callbacks": state.callbacks,
            "media": state.media,
            "settled": state.settled,
        })
    }
}

/// All calls that the carrier remembers.
#[derive(Default)]
pub(super) struct Calls {
    by_sid: HashMap<String, Arc<Call>>,
    /// The oldest first.
    finished: VecDeque<String>,
    created: u64,
}

impl Calls {
    /// Creates a record; the returned channel receives the commands to the call.
    pub(super) fn create(
        &mut self,
        account: Arc<Account>,
        direction: Direction,
        request: Request,
        now: Timestamp,
    ) -> (Arc<Call>, mpsc::Receiver<Command>) {
        // Capacity for two, so that a second end in a row is refused at once instead of waiting.
        let (commands, receiver) = mpsc::channel(2);
        self.created += 1;
        let state = State {
            status: Status::Queued,
            updated: now,
            answered: None,
            ended: None,
            duration: None,
            ended_by: None,
            error: None,
            callbacks: Vec::new(),
            said: Vec::new(),
            hung_up_ms: None,
            answered_by: None,
            heard: Vec::new(),
            media: Media::default(),
            settled: false,
        };
        let call = Arc::new(Call {
            sid: ids::sid("CA"),
            account,
            direction,
            number: self.created,
            request,
            created: now,
            commands,
            state: Mutex::new(state),
        });
        self.by_sid.insert(call.sid.clone(), call.clone());
        (call, receiver)
    }

    pub(super) fn get(&self, sid: &str) -> Option<Arc<Call>> {
        self.by_sid.get(sid).cloned()
    }

    /// The newest first.
    pub(super) fn all(&self) -> Vec<Arc<Call>> {
        let mut calls: Vec<_> = self.by_sid.values().cloned().collect();
        calls.sort_by_key(|call| std::cmp::Reverse(call.number));
        calls
    }

    /// Marks a call as finished, and removes the oldest finished one if there are too many.
    pub(super) fn finish(&mut self, sid: &str) {
        self.finished.push_back(sid.to_owned());
        if self.finished.len() > FINISHED_LIMIT
            && let Some(oldest) = self.finished.pop_front()
        {
            self.by_sid.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(calls: &mut Calls) -> (Arc<Call>, mpsc::Receiver<Command>) {
        let account = Account { sid: "AC1".to_owned(), auth_token: "token".to_owned() };
        calls.create(account.into(), Direction::Outbound, request(), Timestamp::UNIX_EPOCH)
    }

    fn request() -> Request {
        Request {
            to: "+14155550100".to_owned(),
            from: "+14155550199".to_owned(),
            instructions: Instructions::Inline("<Response/>".to_owned()),
            fallback: None,
            status_callback: None,
            events: vec![],
            timeout: Duration::from_mins(1),
            time_limit: Duration::from_mins(1),
            detection: None,
        }
    }

    #[test]
    fn old_finished_calls_are_removed_and_live_ones_never() {
        let mut calls = Calls::default();
        let (live, _commands) = create(&mut calls);
        let finished: Vec<_> = (0..=FINISHED_LIMIT)
            .map(|_| create(&mut calls).0)
            .inspect(|call| assert_eq!(call.state().status, Status::Queued))
            .collect();
        for call in &finished {
            calls.finish(&call.sid);
        }
        assert!(calls.get(&live.sid).is_some());
        assert!(calls.get(&finished[0].sid).is_none());
        assert!(calls.get(&finished[1].sid).is_some());
        assert_eq!(calls.all().len(), 1 + FINISHED_LIMIT);
        assert_eq!(calls.all().last().map(|call| call.sid.clone()), Some(live.sid.clone()), "newest first");
    }

    #[test]
    fn heard_speech_is_ordered_by_time() {
        let (call, _commands) = create(&mut Calls::default());
        for at_ms in [20, 10, 30] {
            call.record_heard(Speech { at_ms, until_ms: at_ms + 5, text: String::new() });
        }
        let order: Vec<_> = call.state().heard.iter().map(|speech| speech.at_ms).collect();
        assert_eq!(order, [10, 20, 30]);
    }
}
