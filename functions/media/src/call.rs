//! One call: moves bytes between the carrier's stream, the providers and the dialogue engine until the
//! engine says that it is over, or that another worker is to go on.
//!
//! One task owns everything here. It never waits for a provider or the table: their work comes back
//! as inputs, and what cannot be taken at once is dropped or ends the call.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use domain::{
    agents::AgentConfig,
    conversations::{Conversation, EndedReason, Entry, Snapshot, Speaking},
    costs::Usage,
    dialogue::{CallTime, Clause, Happening, Input, Output, Request, Settings},
    events::{self, EventName, Matches, Scope},
    time::Timestamp,
};
use futures_util::{Stream, StreamExt, stream::SelectAll};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use vendors::{
    language_models::{self, Answer, ModelEvent},
    voices::{SpeechEvent, Synthesizer},
};

use crate::{
    Worker,
    address::Address,
    admission::Admitted,
    carrier::{Carrier, FromCarrier},
    closing::Finished,
    conversation_log,
    dialogue::Dialogue,
    estimate::Estimate,
    hearing::{Ears, Heard},
    holding::Hold,
    journal::Journal,
    keeper::{Keeper, Kept},
    notes::Note,
    outgoing::Outgoing,
    providing::Providing,
    recorder::Recorder,
    tools::{Answered, Tools},
    voice_activity::VoiceActivity,
};

/// How often what the agent is saying is noted for a worker that might take over.
const CHECKPOINT: Duration = Duration::from_secs(1);

type Speeches = std::pin::Pin<Box<dyn Stream<Item = (Clause, Spoken)> + Send>>;

enum Spoken {
    Audio(Bytes),
    Characters(u64),
    Finished,
    Failed(vendors::Error),
}

/// A question to the model that is still being answered.
struct Asking {
    request: Request,
    answer: Answer,
    /// What it would cost if the vendor never says, as it does not when we cancel.
    estimate: Estimate,
}

/// What woke the call.
enum Woken {
    Carrier(FromCarrier),
    Heard(Heard),
    Model(Option<Result<ModelEvent, vendors::Error>>),
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
    /// As it was when media began; of what came later it knows which filters failed.
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
    outgoing: Outgoing,
    voice_activity: VoiceActivity,
    journal: Journal,
    tools: Tools<'a>,
    recorder: Option<Recorder>,
    keeper: Keeper,
    /// What was used, but for what the transcriber of this worker heard.
    usage: Usage,
    /// Audio the transcriber has counted itself so far.
    counted: Duration,
    /// Something failed that ends the call: nobody wanted its end.
    failed: bool,
    over: Option<Over>,
}

impl<'a> Call<'a> {
    /// Begins to connect the providers; nothing is said before [`Call::run`].
    pub(crate) fn new(worker: &'a Worker, admitted: &'a Admitted, carrier: Carrier, hold: Hold) -> Self {
        let Admitted { address, snapshot, providing, account, began, began_at, elapsed, resumed } = admitted;
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
            ears: Ears::open(providing.transcriber.clone(), serving.transcriber.clone()),
            asking: None,
            voice,
            speaking: SelectAll::new(),
            outgoing: Outgoing::default(),
            voice_activity: VoiceActivity::new(),
            journal,
            tools: Tools::new(&worker.sender, account.as_ref(), snapshot),
            recorder: agent.recording.then(|| Recorder::beginning_at(*elapsed)),
            keeper: Keeper::open(worker.recordings.clone(), *address, *began_at),
            usage: conversation.usage.clone(),
            counted: Duration::ZERO,
            failed: false,
            providing,
            over: None,
        }
    }

    /// Talks until the call is over for this worker.
    pub(crate) async fn run(mut self, first_words: Option<Entry>, shutdown: &CancellationToken) -> Finished {
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
            Woken::Shutdown => self.feed(Input::Drain),
            Woken::Deadline => self.feed(Input::Wake),
            Woken::Checkpoint => self.hold.note(self.speaking()),
            Woken::Carrier(message) => self.carrier_says(message),
            Woken::Heard(Heard::Input(input)) => self.feed(input),
            Woken::Heard(Heard::Usage(audio)) => self.counted += audio,
            // Nobody can be answered who is not heard.
            Woken::Heard(Heard::Lost) => self.fail(),
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
                // Only an agent who is speaking can be stopped by a sound.
                if self.dialogue.is_audible(now) {
                    let frame = self.voice_activity.frame(now, &audio);
                    self.feed(frame);
                }
                self.ears.hear(now, audio);
            }
            FromCarrier::Played(mark) => self.feed(Input::Played { mark }),
            FromCarrier::Key(key) => self.feed(Input::Key(key)),
            FromCarrier::Stopped => self.feed(Input::Closed),
            // The call may live on: the carrier connects it again.
            FromCarrier::Lost => self.feed(Input::Lost),
        }
    }

    fn model_says(&mut self, event: Option<Result<ModelEvent, vendors::Error>>) {
        let Some(asking) = &mut self.asking else { return };
        let request = asking.request;
        match event {
            Some(Ok(ModelEvent::Text(text))) => {
                asking.estimate.received(&text);
                self.feed(Input::ModelText { request, text });
            }
            Some(Ok(ModelEvent::ToolCall(call))) => {
                asking.estimate.received(&call.arguments);
                let call =
                    domain::dialogue::ToolCall { id: call.id, name: call.name, arguments: call.arguments };
                self.feed(Input::ModelToolCall { request, call });
            }
            Some(Ok(ModelEvent::Usage { input_tokens, output_tokens, cached_tokens })) => {
                asking.estimate.reported();
                self.usage.input_tokens += input_tokens;
                self.usage.output_tokens += output_tokens;
                self.usage.cached_input_tokens += cached_tokens;
            }
            Some(Ok(ModelEvent::Finished(_))) => {
                self.stop_asking();
                self.feed(Input::ModelFinished { request });
            }
            failed => {
                if let Some(Err(error)) = failed {
                    tracing::warn!(conversation = %self.address.conversation, %error, "the model failed");
                }
                self.stop_asking();
                self.feed(Input::ModelFailed { request });
            }
        }
    }

    fn voice_says(&mut self, clause: Clause, spoken: Spoken) {
        match spoken {
            Spoken::Characters(count) => self.usage.characters += count,
            Spoken::Audio(audio) => {
                let bytes = u32::try_from(audio.len()).unwrap_or(u32::MAX);
                self.outgoing.add(clause, &audio);
                self.feed(Input::VoiceAudio { clause, bytes });
            }
            Spoken::Finished => self.feed(Input::VoiceFinished { clause }),
            Spoken::Failed(error) => {
                tracing::warn!(conversation = %self.address.conversation, %error, "the voice failed");
                self.feed(Input::VoiceFailed { clause });
            }
        }
    }

    /// Tells the engine what happened and does what it says, until nothing more follows.
    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut outputs = vec![];
        while let Some(input) = inputs.pop_front() {
            self.dialogue.on(self.now(), input, &mut outputs);
            for output in outputs.drain(..) {
                self.perform(output, &mut inputs);
            }
        }
    }

    fn perform(&mut self, output: Output, inputs: &mut VecDeque<Input>) {
        match output {
            Output::Ask { request } => self.ask(request),
            Output::CancelAsk { request } => {
                if self.asking.as_ref().is_some_and(|asking| asking.request == request) {
                    self.stop_asking();
                }
            }
            Output::Speak { clause, text } => self.speak(clause, &text, inputs),
            Output::CancelSpeech => {
                self.speaking.clear();
                self.outgoing.clear();
            }
            Output::Send { clause, bytes } => self.send(clause, bytes, inputs),
            Output::Rewind { clause, bytes } => self.outgoing.take_back(clause, bytes),
            Output::Mark(mark) => self.tell_carrier(|carrier| carrier.mark(mark), inputs),
            Output::Clear => {
                let now = self.now();
                if let Some(recorder) = &mut self.recorder {
                    recorder.cleared(now);
                }
                self.tell_carrier(Carrier::clear, inputs);
            }
            Output::CallTool(call) => inputs.extend(self.tools.call(call.id)),
            Output::Event(happening) => self.log(happening, inputs),
            Output::End { .. } if self.failed => self.over = Some(Over::Ended(EndedReason::Unknown)),
            Output::End { reason } => self.over = Some(Over::Ended(reason)),
            Output::HandOver { unsaid } => self.over = Some(Over::Handed(unsaid)),
        }
    }

    fn ask(&mut self, request: Request) {
        self.stop_asking();
        let lines = self.dialogue.history();
        let estimate = Estimate::of(self.agent, &lines);
        let Providing { serving, language_model: providers, .. } = self.providing;
        let (model, prompt) = (&serving.language_model, self.agent.prompt.as_deref());
        let answer = language_models::ask(providers, model, prompt, &lines);
        self.asking = Some(Asking { request, answer, estimate });
    }

    /// Drops the current answer, and counts what the vendor did not.
    fn stop_asking(&mut self) {
        if let Some(asking) = self.asking.take() {
            asking.estimate.count(&mut self.usage);
        }
    }

    fn speak(&mut self, clause: Clause, text: &str, inputs: &mut VecDeque<Input>) {
        let Some(voice) = &self.voice else {
            inputs.push_back(Input::VoiceFailed { clause });
            return;
        };
        let speech = voice.speak(text).map(move |event| match event {
            Ok(SpeechEvent::Audio(audio)) => (clause, Spoken::Audio(audio)),
            Ok(SpeechEvent::Characters { count, .. }) => (clause, Spoken::Characters(count)),
            Err(error) => (clause, Spoken::Failed(error)),
        });
        // A failed speech ends with its error; the engine takes no more of that clause after it.
        let finished = futures_util::stream::once(async move { (clause, Spoken::Finished) });
        self.speaking.push(Box::pin(speech.chain(finished)));
    }

    fn send(&mut self, clause: Clause, bytes: u32, inputs: &mut VecDeque<Input>) {
        let now = self.now();
        let audio = self.outgoing.take(clause, bytes);
        if let Some(recorder) = &mut self.recorder {
            recorder.sent(now, audio);
        }
        self.voice_activity.sent(now, audio);
        if !self.carrier.media(audio) {
            inputs.push_back(self.carrier_is_full());
        }
    }

    fn tell_carrier(&mut self, message: impl FnOnce(&mut Carrier) -> bool, inputs: &mut VecDeque<Input>) {
        if !message(&mut self.carrier) {
            inputs.push_back(self.carrier_is_full());
        }
    }

    fn carrier_is_full(&self) -> Input {
        tracing::warn!(conversation = %self.address.conversation, "the carrier takes no more audio");
        Input::Lost
    }

    fn log(&mut self, happening: Happening, inputs: &mut VecDeque<Input>) {
        let entry = conversation_log::entry(happening, self.began_at, self.now());
        let matches = self.matching(&entry);
        if matches.hangs_up {
            inputs.push_back(Input::HangUp);
        }
        if !self.note(entry, matches) {
            tracing::error!(conversation = %self.address.conversation, "nothing could be stored for minutes");
            self.failed = true;
            inputs.push_back(Input::HangUp);
        }
    }

    fn matching(&self, entry: &Entry) -> Matches {
        let (conversation, agent, name) = (&self.conversation, self.agent, entry.name);
        events::matching(&Scope { conversation, agent, name, data: &entry.event_data() })
    }

    /// Has something stored; false when there is no room left for it.
    fn note(&mut self, entry: Entry, matches: Matches) -> bool {
        if !matches.stores(entry.name) {
            return true;
        }
        self.conversation.remember(matches.failures);
        let mut usage = self.usage.clone();
        usage.transcriber_ms += self.ears.audio_ms();
        if entry.name != EventName::FunctionCallTriggered {
            return self.journal.note(entry, &usage);
        }
        let (noted, stored) = self.journal.note_call(entry, &usage);
        self.tools.announce((!matches.webhooks.is_empty()).then_some(stored));
        noted
    }

    /// Ends a call that cannot go on.
    fn fail(&mut self) {
        self.failed = true;
        self.feed(Input::HangUp);
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

/// The next piece of the current answer; never, while nothing is asked.
async fn next_of(asking: &mut Option<Asking>) -> Option<Result<ModelEvent, vendors::Error>> {
    match asking {
        Some(asking) => asking.answer.next().await,
        None => std::future::pending().await,
    }
}
