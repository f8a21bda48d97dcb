//! One call: moves bytes between the carrier's stream, the providers and the dialogue engine until the
//! engine says that it is over, or that another worker is to go on.
//!
//! One task owns everything here. It never waits for a provider or the table: their work comes back
//! as inputs, and what cannot be taken at once is dropped or ends the call.
//!
//! Here is what wakes it. What the engine decides is done in `performing.rs`; `asking.rs` is the model's
//! side, `speaking.rs` the voice's.

mod asking;
mod performing;
mod speaking;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use futures_util::{StreamExt, stream::SelectAll};
use switchboard_dialogue::{CallTime, Clause, Input, Output, Part, Settings};
use switchboard_model::{
    agents::AgentConfig,
    conversations::{Conversation, EndedReason, JournalEntry, Snapshot, Speaking},
    costs::Usage,
    events::EventName,
    time::Timestamp,
};
use switchboard_providers::{language_models::ModelEvent, voices::Synthesizer};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{
    asking::{Asking, next_of},
    speaking::{Speeches, Spoken},
};
use crate::{
    Worker,
    address::Address,
    admission::{Admitted, Held},
    carrier::{Carrier, FromCarrier},
    clips::Clips,
    closing::Finished,
    dialogue::Dialogue,
    faults::Faults,
    hearing::{Ears, Heard},
    holding::Hold,
    journal::Journal,
    keeper::{Keeper, Kept},
    notes::Note,
    outgoing::Outgoing,
    providing::Providing,
    recorder::Recorder,
    tools::{Answered, Tools},
    turns::Turns,
    voice_activity::{Frame, VoiceActivity},
};

/// How often what the agent is saying is noted for a worker that might take over.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// What woke the call.
enum Woken {
    Carrier(FromCarrier),
    Heard(Heard),
    Model(Option<Result<ModelEvent, switchboard_providers::Error>>),
    Voice(Clause, Spoken),
    Tool(Answered),
    Deadline,
    Checkpoint,
    Noted(Note),
    LostLease,
    Shutdown,
}

/// How a call is over for this worker.
pub(crate) enum Over {
    /// The conversation is over.
    Ended(EndedReason),
    /// Another worker goes on with it, and says this first.
    Handed(Option<String>),
    /// Another worker already has it.
    Lost,
}

pub(crate) struct Call<'a> {
    address: Address,
    hold: Hold,
    notes: mpsc::Receiver<Note>,
    checkpoint: Interval,
    /// As it was when media began; of what came later it knows which filters failed, and who answered.
    conversation: Conversation,
    agent: &'a AgentConfig,
    providing: &'a Providing,
    carrier: Carrier,
    began: Instant,
    began_at: Timestamp,
    dialogue: Dialogue,
    ears: Ears,
    asking: Option<Asking>,
    voice: Option<Synthesizer>,
    speaking: SelectAll<Speeches>,
    /// Clauses that the engine waits for.
    at_voice: BTreeSet<Clause>,
    /// What need not be spoken.
    clips: &'a Clips,
    outgoing: Outgoing,
    voice_activity: VoiceActivity,
    /// Whether the caller's last frame was speech.
    heard_speech: bool,
    journal: Journal,
    tools: Tools<'a>,
    recorder: Option<Recorder>,
    keeper: Keeper,
    /// What was used, but for what the transcriber of this worker heard.
    usage: Usage,
    /// Audio the transcriber has counted itself so far.
    counted: Duration,
    faults: Faults,
    turns: Turns,
    /// The greeting is still to begin.
    greets: bool,
    /// Room for what is fed to the engine, and for what it decides.
    inputs: VecDeque<Input>,
    outputs: Vec<Output>,
    /// Something failed that ends the call: nobody wanted its end.
    failed: bool,
    over: Option<Over>,
}

impl<'a> Call<'a> {
    /// Nothing is said before [`Call::run`].
    pub(crate) fn new(
        worker: &'a Worker,
        admitted: &'a Admitted,
        carrier: Carrier,
        Held { hold, ears }: Held,
    ) -> Self {
        let Admitted { address, snapshot, providing, clips, account, began, began_at, elapsed, resumed } =
            admitted;
        let Snapshot { conversation, agent } = snapshot;
        let serving = &providing.serving;
        let voice = Synthesizer::new(&providing.voice, &serving.voice)
            .inspect_err(|error| tracing::error!(%error, "no voice"))
            .ok();
        let settings = Settings {
            greeting: agent.initial_message.clone(),
            max_duration: agent.max_duration_seconds.map(Duration::from_secs),
            language: serving.transcriber.language().to_owned(),
            resumed: resumed.clone(),
        };
        let (store, prices) = (worker.store.clone(), worker.prices.clone());
        let journal = Journal::open(store, prices, snapshot.clone(), &hold);
        Self {
            address: *address,
            hold,
            notes: worker.notes.subscribe(*address),
            checkpoint: interval(CHECKPOINT),
            conversation: conversation.clone(),
            agent,
            carrier,
            began: *began,
            began_at: *began_at,
            dialogue: Dialogue::new(settings),
            ears,
            asking: None,
            voice,
            speaking: SelectAll::new(),
            at_voice: BTreeSet::new(),
            clips,
            outgoing: Outgoing::default(),
            voice_activity: VoiceActivity::new(),
            heard_speech: false,
            journal,
            tools: Tools::new(&worker.sender, account.as_ref(), snapshot),
            recorder: agent.recording.then(|| Recorder::beginning_at(*elapsed)),
            keeper: Keeper::open(worker.recordings.clone(), *address, *began_at),
            usage: conversation.usage.clone(),
            counted: Duration::ZERO,
            faults: Faults::of(serving),
            turns: Turns::default(),
            greets: agent.initial_message.is_some() && resumed.is_none(),
            inputs: VecDeque::new(),
            outputs: vec![],
            failed: false,
            providing,
            over: None,
        }
    }

    /// Talks until the call is over for this worker.
    pub(crate) async fn run(
        mut self,
        first_words: Option<JournalEntry>,
        shutdown: &CancellationToken,
    ) -> Finished {
        let mut draining = false;
        // A hook may hang up on what happened before media flowed.
        let mut hangs_up = [EventName::Accepted, EventName::Started]
            .into_iter()
            .any(|name| self.conversation.hangs_up_on(self.agent, name));
        if let Some(entry) = first_words {
            let matches = self.matching(&entry);
            hangs_up |= matches.hangs_up;
            self.note(entry, matches);
        }
        self.feed(Input::Started);
        if hangs_up {
            self.feed(Input::HangUp);
        }
        loop {
            if let Some(over) = self.over.take() {
                return self.finished(over).await;
            }
            let woken = self.woken(shutdown, draining).await;
            draining |= matches!(woken, Woken::Shutdown);
            self.handle(woken);
        }
    }

    async fn finished(mut self, over: Over) -> Finished {
        self.stop_asking();
        for delivery in self.tools.stop().await {
            self.journal.answered(delivery);
        }
        let now = self.now();
        let recording = self.recorder.is_some();
        let pieces = self.recorder.into_iter().flat_map(|recorder| recorder.finish(now)).map(Kept::Recording);
        let left = pieces.chain([Kept::Log(self.dialogue.finish())]).collect();
        Finished {
            over,
            at: self.began_at.after(Duration::from_micros(now.0)),
            carrier: self.carrier,
            ears: self.ears,
            counted: self.counted,
            hold: self.hold,
            journal: self.journal,
            recording,
            kept: (left, self.keeper),
            usage: self.usage,
            notes: self.faults.take(),
            turns: self.turns,
        }
    }

    /// Waits for the next thing to do. Cancel-safe: each branch either takes a whole item or nothing.
    async fn woken(&mut self, shutdown: &CancellationToken, draining: bool) -> Woken {
        let deadline = self.dialogue.deadline().map(|at| self.began + Duration::from_micros(at.0));
        let deadline = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
        tokio::select! {
            biased;
            () = self.hold.lost() => Woken::LostLease,
            () = shutdown.cancelled(), if !draining => Woken::Shutdown,
            Some(note) = self.notes.recv() => Woken::Noted(note),
            message = self.carrier.next() => Woken::Carrier(message),
            // Audio that is due goes out before more is taken in.
            () = sleep_until(deadline) => Woken::Deadline,
            _ = self.checkpoint.tick() => Woken::Checkpoint,
            heard = self.ears.next() => Woken::Heard(heard),
            event = next_of(&mut self.asking) => Woken::Model(event),
            Some((clause, spoken)) = self.speaking.next() => Woken::Voice(clause, spoken),
            Some(answered) = self.tools.next() => Woken::Tool(answered),
        }
    }

    fn handle(&mut self, woken: Woken) {
        match woken {
            Woken::LostLease | Woken::Noted(Note::Ended) => self.over = Some(Over::Lost),
            Woken::Noted(Note::EndRequested) => self.feed(Input::HangUp),
            Woken::Noted(Note::CarrierEnded) => self.feed(Input::Closed),
            Woken::Noted(Note::AnsweredBy(verdict)) => {
                self.tools.answered_by(verdict.clone());
                if let Some(call) = &mut self.conversation.phone_call {
                    call.answered_by = Some(verdict);
                }
            }
            Woken::Shutdown => self.feed(Input::Drain),
            Woken::Deadline => self.feed(Input::Wake),
            Woken::Checkpoint => self.hold.note(self.speaking()),
            Woken::Carrier(message) => self.carrier_says(message),
            Woken::Heard(heard) => self.heard(heard),
            Woken::Model(event) => self.model_says(event),
            Woken::Voice(clause, spoken) => self.voice_says(clause, spoken),
            Woken::Tool(Answered { call, content, delivery }) => {
                if let Some(delivery) = delivery {
                    self.journal.answered(delivery);
                }
                self.feed(Input::ToolResult { call, content });
            }
        }
    }

    fn carrier_says(&mut self, message: FromCarrier) {
        match message {
            FromCarrier::Media { at, audio } => {
                let now = self.now();
                if let Some(recorder) = &mut self.recorder {
                    recorder.heard(now, at, &audio);
                    if let Some(piece) = recorder.piece(now) {
                        self.keeper.keep(Kept::Recording(piece));
                    }
                }
                if let Some(part) = self.dialogue.part() {
                    self.keeper.keep(Kept::Log(part));
                }
                let frame = self.voice_activity.frame(now, &audio);
                self.hears(now, frame);
                self.ears.hear(now, audio);
            }
            FromCarrier::Played(mark) => self.feed(Input::Played { mark }),
            FromCarrier::Key(key) => self.feed(Input::Key(key)),
            FromCarrier::Stopped => self.feed(Input::Closed),
            // The call may live on: the carrier connects it again.
            FromCarrier::Lost => self.feed(Input::Lost),
        }
    }

    /// A frame of the caller's. While the agent is silent its engine need not know of silence.
    fn hears(&mut self, now: CallTime, frame: Frame) {
        let matters = frame.is_speech || self.heard_speech || self.dialogue.is_audible(now);
        self.heard_speech = frame.is_speech;
        if matters {
            self.feed(frame.into());
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Input(input) => self.feed(input),
            Heard::Usage(audio) => self.counted += audio,
            Heard::Failed(error) => {
                self.faults.failed(Part::Transcriber, &error);
                self.feed(Input::TranscriberFailed);
            }
            Heard::Restored(after) => {
                let after = format_args!("connected again after {} ms", after.as_millis());
                self.faults.note(Part::Transcriber, after);
            }
            Heard::Lost(error) => {
                self.faults.failed(Part::Transcriber, &error);
                self.feed(Input::TranscriberLost);
            }
        }
    }

    /// What the agent is saying now.
    fn speaking(&self) -> Option<Speaking> {
        let (heard, unheard, started_at) = self.dialogue.speaking(self.now())?;
        let started_at = self.began_at.after(Duration::from_micros(started_at.0));
        Some(Speaking { heard, unheard, started_at })
    }

    fn now(&self) -> CallTime {
        CallTime(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}
