//! The life of a call: dialled, ringing, answered, following its TwiML, ended; each step is reported as requested.
//!
//! One task per call owns its life. A second future in the same task sends the callbacks in order, so that a slow
//! receiver never delays the call.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    answering_machine,
    call_record::{Call, CallError, Command, Direction, EndedBy, Instructions, Status, StatusEvent},
    callbacks,
    carrier::Carrier,
    line::CallLine,
    media_stream,
    party::Party,
    special_numbers::{BUSY, LOST, NO_ANSWER},
    twiml::{self, Verb},
};
use crate::{callers::Part, clock};

/// Time until a busy line is known.
const BUSY_AFTER: Duration = Duration::from_millis(500);
/// Time that a person lets it ring.
const RING: Duration = Duration::from_secs(1);
/// Time after which an unanswered call is given up, unless its own `Timeout` is shorter. The usual minute would only
/// slow down tests.
const NO_ANSWER_AFTER: Duration = Duration::from_secs(5);
/// Maximum number of documents of a call, which ends a loop of redirects.
const DOCUMENTS_LIMIT: usize = 1000;

/// The end of a call.
struct Ending {
    status: Status,
    by: EndedBy,
    /// The final SIP response of the far end.
    sip: u16,
}

impl Ending {
    fn completed(by: EndedBy) -> Self {
        Self { status: Status::Completed, by, sip: 200 }
    }

    fn unanswered(status: Status, by: EndedBy, sip: u16) -> Self {
        Self { status, by, sip }
    }
}

/// The step after a document, or after a part of it.
enum Next {
    Document(Instructions),
    End(Ending),
}

/// Takes a call from dialling to its end, and until its last callback is sent and its last word is recognised.
pub(super) async fn run(carrier: Arc<Carrier>, call: Arc<Call>, commands: mpsc::Receiver<Command>) {
    let (reports, queue) = mpsc::channel(callbacks::QUEUE);
    let line = CallLine { carrier: &carrier, call: &call, reports, sequence: 0 };
    tokio::join!(live_call(line, commands), callbacks::deliver(&carrier, &call, queue));
    call.state().settled = true;
    carrier.calls().finish(&call.sid);
}

async fn live_call(mut line: CallLine<'_>, mut commands: mpsc::Receiver<Command>) {
    let mut party = None;
    let ending = line.dial(&mut commands, &mut party).await;
    line.end(&ending).await;
    let stop = line.carrier.stop.clone();
    // Closes the channels: nothing is reported or commanded any more.
    drop((line, commands));
    if let Some(party) = party {
        stop.run_until_cancelled(party.settle()).await;
    }
}

impl CallLine<'_> {
    async fn dial(&mut self, commands: &mut mpsc::Receiver<Command>, party: &mut Option<Party>) -> Ending {
        if self.call.direction == Direction::Inbound {
            return self.dial_inbound(commands, party).await;
        }
        self.report(StatusEvent::Initiated, "initiated", vec![]).await;
        if self.call.request.to == BUSY {
            let busy = async {
                sleep(BUSY_AFTER).await;
                Ending::unanswered(Status::Busy, EndedBy::Carrier, 486)
            };
            return self.until_canceled(commands, busy).await.unwrap_or_else(|canceled| canceled);
        }
        if self.call.request.to == LOST {
            self.enter(Status::Ringing);
            let never = std::future::pending::<Ending>();
            return self.until_canceled(commands, never).await.unwrap_or_else(|canceled| canceled);
        }
        self.enter(Status::Ringing);
        self.report(StatusEvent::Ringing, "ringing", vec![]).await;
        let part = match self.until_canceled(commands, self.pick_up()).await {
            Ok(Ok(part)) => part,
            Ok(Err(ending)) | Err(ending) => return ending,
        };
        let instructions = self.call.request.instructions.clone();
        self.answer(part, instructions, commands, party).await
    }

    /// A person calls a number of the account: its document decides whether the call is answered.
    async fn dial_inbound(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        party: &mut Option<Party>,
    ) -> Ending {
        self.enter(Status::Ringing);
        let asking = async {
            let part = self.carrier.callers.part(&self.call.request.from).await;
            let part = part.map_err(|error| CallError { code: 13225, message: format!("{error:#}") })?;
            let instructions = self.fetched(&self.call.request.instructions).await?;
            let verbs = self.verbs(&instructions).await?;
            Ok::<_, CallError>((part, instructions, verbs.into_iter().next()))
        };
        let told = match self.until_canceled(commands, asking).await {
            Ok(told) => told,
            Err(ending) => return ending,
        };
        match told {
            Ok((_, _, Some(Verb::Reject { busy: true }))) => {
                Ending::unanswered(Status::Busy, EndedBy::Agent, 486)
            }
            Ok((_, _, Some(Verb::Reject { busy: false }))) => {
                Ending::unanswered(Status::NoAnswer, EndedBy::Agent, 603)
            }
            Ok((part, instructions, _)) => self.answer(part, instructions, commands, party).await,
            Err(CallError { code, message }) => {
                self.call.record_error(code, message);
                Ending::unanswered(Status::Failed, EndedBy::Carrier, 503)
            }
        }
    }

    /// The call is answered.
    async fn answer(
        &mut self,
        part: Part,
        instructions: Instructions,
        commands: &mut mpsc::Receiver<Command>,
        party: &mut Option<Party>,
    ) -> Ending {
        let answered = Instant::now();
        self.enter(Status::InProgress);
        self.report(StatusEvent::Answered, "in-progress", vec![]).await;
        let speech = self.carrier.callers.speech().clone();
        let is_machine = part.machine;
        let party = party.insert(Party::new(part, speech, self.call.clone(), answered));
        let talk = self.talk(instructions, party, commands, answered);
        let detection = async {
            answering_machine::detect(self, is_machine, answered).await;
            std::future::pending().await
        };
        let ending = tokio::select! {
            ending = talk => ending,
            never = detection => never,
        };
        // Twilio counts whole seconds, rounded up.
        self.call.state().duration =
            Some(answered.elapsed().as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
        ending
    }

    /// Waits for `future` before the call is answered; a command meanwhile cancels the call.
    async fn until_canceled<T>(
        &self,
        commands: &mut mpsc::Receiver<Command>,
        future: impl Future<Output = T>,
    ) -> Result<T, Ending> {
        tokio::select! {
            biased;
            () = self.carrier.stop.cancelled() => Err(Ending::unanswered(Status::Failed, EndedBy::Carrier, 503)),
            Some(_) = commands.recv() => Err(Ending::unanswered(Status::Canceled, EndedBy::Agent, 487)),
            value = future => Ok(value),
        }
    }

    /// Rings until the person answers.
    async fn pick_up(&self) -> Result<Part, Ending> {
        let request = &self.call.request;
        let no_answer = Ending::unanswered(Status::NoAnswer, EndedBy::Carrier, 487);
        if request.to == NO_ANSWER {
            sleep(request.timeout.min(NO_ANSWER_AFTER)).await;
            return Err(no_answer);
        }
        let answer = async {
            let ring = sleep(RING);
            // The lines are synthesized now, so that they are ready when they are due.
            let part = self.carrier.callers.part(&request.to).await;
            ring.await;
            part
        };
        match timeout(request.timeout, answer).await {
            Ok(Ok(part)) => Ok(part),
            Ok(Err(error)) => {
                // 13225 is the nearest code for a broken far end.
                self.call.record_error(13225, format!("the simulated person has no voice: {error:#}"));
                Err(Ending::unanswered(Status::Failed, EndedBy::Carrier, 503))
            }
            Err(_) => Err(no_answer),
        }
    }

    /// Follows the call's instructions until it ends.
    async fn talk(
        &self,
        mut instructions: Instructions,
        party: &mut Party,
        commands: &mut mpsc::Receiver<Command>,
        answered: Instant,
    ) -> Ending {
        let limit = answered + self.call.request.time_limit;
        for _ in 0..DOCUMENTS_LIMIT {
            // After a cancellation the document closes its stream, and returns.
            let interrupt = self.carrier.stop.child_token();
            let document = self.follow(&instructions, party, &interrupt);
            let interruption = async {
                tokio::select! {
                    Some(command) = commands.recv() => match command {
                        Command::End => Next::End(Ending::completed(EndedBy::Agent)),
                        Command::Redirect(instructions) => Next::Document(instructions),
                    },
                    () = sleep_until(limit) => Next::End(Ending::completed(EndedBy::Carrier)),
                }
            };
            let next = run_until_interrupted(document, &interrupt, interruption).await;
            match next {
                Next::Document(next) => instructions = next,
                Next::End(ending) => return ending,
            }
        }
        self.call.record_error(11200, "too many redirects");
        Ending::completed(EndedBy::Carrier)
    }

    async fn follow(
        &self,
        instructions: &Instructions,
        party: &mut Party,
        interrupt: &CancellationToken,
    ) -> Next {
        let interrupted = || Next::End(Ending::completed(EndedBy::Carrier));
        let Some(verbs) = interrupt.run_until_cancelled(self.verbs(instructions)).await else {
            return interrupted();
        };
        let verbs = match verbs {
            Ok(verbs) => verbs,
            Err(CallError { code, message }) => {
                self.call.record_error(code, message);
                return Next::End(Ending::completed(EndedBy::Carrier));
            }
        };
        for verb in verbs {
            match verb {
                Verb::Connect(stream) => match Box::pin(media_stream::run(self, &stream, party, interrupt))
                    .await
                {
                    media_stream::End::Closed => {}
                    media_stream::End::PersonHungUp => return Next::End(Ending::completed(EndedBy::Caller)),
                    media_stream::End::Interrupted => return interrupted(),
                },
                Verb::Pause(length) => {
                    if interrupt.run_until_cancelled(sleep(length)).await.is_none() {
                        return interrupted();
                    }
                }
                Verb::Redirect { url, get } => {
                    if let Some(url) = absolute(instructions, &url) {
                        return Next::Document(Instructions::At { url, get });
                    }
                    self.call.record_error(11100, format!("invalid URL to redirect to: {url}"));
                    return Next::End(Ending::completed(EndedBy::Carrier));
                }
                Verb::Hangup | Verb::Reject { .. } => break,
            }
        }
        Next::End(Ending::completed(EndedBy::Agent))
    }

    async fn verbs(&self, instructions: &Instructions) -> Result<Vec<Verb>, CallError> {
        let fetched = self.fetched(instructions).await?;
        let (Instructions::Inline(document) | Instructions::Fetched { document, .. }) = &fetched else {
            return Ok(vec![]);
        };
        twiml::parse(document).map_err(|error| CallError { code: error.code(), message: error.to_string() })
    }

    /// Returns the instructions with their document, fetched if necessary; from the fallback if that fails.
    async fn fetched(&self, instructions: &Instructions) -> Result<Instructions, CallError> {
        match (self.fetched_once(instructions).await, &self.call.request.fallback) {
            (Err(CallError { code, message }), Some(fallback)) => {
                self.call.record_error(code, message);
                self.fetched_once(fallback).await
            }
            (fetched, _) => fetched,
        }
    }

    async fn fetched_once(&self, instructions: &Instructions) -> Result<Instructions, CallError> {
        let Instructions::At { url, get } = instructions else { return Ok(instructions.clone()) };
        let failed = |message| CallError { code: 11200, message };
        let status = self.call.state().status.as_str();
        let account = &self.call.account;
        let answer = callbacks::request(self.carrier, account, url, *get, &self.identity(status)).await;
        let answer = answer.map_err(failed)?;
        if !(200..300).contains(&answer.status) {
            return Err(failed(format!("the document's server answered {}", answer.status)));
        }
        Ok(Instructions::Fetched { url: url.clone(), document: answer.body })
    }

    fn enter(&self, status: Status) {
        let now = clock::now();
        let mut state = self.call.state();
        state.status = status;
        state.updated = now;
        if status == Status::InProgress {
            state.answered = Some(now);
        }
        if status.is_final() {
            state.ended = Some(now);
        }
    }

    async fn end(&mut self, ending: &Ending) {
        self.enter(ending.status);
        let seconds = {
            let mut state = self.call.state();
            state.ended_by = Some(ending.by);
            state.duration.unwrap_or(0)
        };
        let form = vec![
            ("CallDuration", seconds.to_string()),
            ("Duration", seconds.div_ceil(60).to_string()),
            ("SipResponseCode", ending.sip.to_string()),
        ];
        self.report(StatusEvent::Completed, ending.status.as_str(), form).await;
    }
}

/// Runs a document until it is finished, or until an interruption has ended it.
async fn run_until_interrupted(
    document: impl Future<Output = Next>,
    interrupt: &CancellationToken,
    interruption: impl Future<Output = Next>,
) -> Next {
    tokio::pin!(document);
    tokio::select! {
        biased;
        next = interruption => {
            interrupt.cancel();
            document.await;
            next
        }
        next = &mut document => next,
    }
}

/// Resolves a URL against the URL of its document.
fn absolute(document: &Instructions, url: &str) -> Option<String> {
    let url = match document {
        Instructions::At { url: base, .. } | Instructions::Fetched { url: base, .. } => {
            reqwest::Url::parse(base).ok()?.join(url)
        }
        Instructions::Inline(_) => reqwest::Url::parse(url),
    };
    url.ok().map(String::from)
}
