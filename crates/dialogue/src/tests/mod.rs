//! Whole calls in virtual time.
//!
//! [`Call`] does the work of the worker: it wakes the engine at its deadlines, and plays the carrier and, unless the
//! test does that itself, the synthesizer. [`Call::story`] returns the engine's outputs as lines of text.

mod barge_in;
mod bounds;
mod disclosure;
mod dtmf;
mod endings;
mod failures;
mod handover;
mod heard_words;
mod hold_phrase;
mod idle;
mod interruptions;
mod latency;
mod playback;
mod promises;
mod properties;
mod replay;
mod silent_model;
mod sounds;
mod takeover;
mod tools;
mod transcriber_watchdog;
mod turn;

use std::time::Duration;

use proptest::strategy::Strategy;
use switchboard_model::{conversations::EndedReason, messages::Role};

use super::*;

const HOLD_PHRASE: &str = "One moment, please.";
const APOLOGY: &str = "I'm sorry, I didn't catch that. Could you say it again?";
const GOODBYE: &str = "I'm sorry, I'm having trouble right now. Please call again later. Goodbye.";
const IDLE_GOODBYE: &str = "It seems that you are not there any more. Goodbye.";
/// The synthesizer of the tests speaks 20 characters a second.
const MS_PER_CHARACTER: u64 = 50;

fn ms(ms: u64) -> CallTime {
    CallTime(ms * 1000)
}

struct Call {
    engine: Engine,
    now: CallTime,
    /// Inputs that are due later, each with its time.
    coming: Vec<(CallTime, Input)>,
    /// The engine's outputs, each with its time.
    done: Vec<(CallTime, Output)>,
    /// Number of outputs that `story` has returned.
    read: usize,
    /// Time until the synthesizer's audio; `None`: the test plays the synthesizer.
    voice: Option<Duration>,
    /// Whether the fixed phrases exist as clips, whose audio comes at once.
    clips: bool,
    /// Time until the carrier returns a mark; `None`: it returns none.
    carrier: Option<Duration>,
    plays_until: CallTime,
}

impl Call {
    fn new(greeting: Option<&str>) -> Self {
        Self::with(EngineSettings { greeting: greeting.map(str::to_owned), ..EngineSettings::default() })
    }

    fn with(settings: EngineSettings) -> Self {
        let language = if settings.language.is_empty() { "en".into() } else { settings.language };
        Self {
            engine: Engine::new(EngineSettings { language, weighs_sounds: true, ..settings }),
            now: CallTime::default(),
            coming: vec![],
            done: vec![],
            read: 0,
            voice: Some(Duration::from_millis(100)),
            clips: false,
            carrier: Some(Duration::ZERO),
            plays_until: CallTime::default(),
        }
    }

    /// A call in which the user has asked `question`, of an engine that watches the model as the worker's does.
    fn watched(question: &str) -> Self {
        let mut call = Self::with(EngineSettings { watches_model: true, ..EngineSettings::default() });
        call.feed(Input::MediaStarted);
        call.says(question);
        assert_eq!(call.story().last().unwrap(), "generate 0");
        call
    }

    /// A call without a greeting that has begun.
    fn begun() -> Self {
        let mut call = Self::new(None);
        call.feed(Input::MediaStarted);
        call
    }

    /// A call in which the user has asked `question` and generation 0 is running.
    fn asked(question: &str) -> Self {
        let mut call = Self::begun();
        call.says(question);
        assert_eq!(call.story(), ["user starts", "user stops", &format!("user: {question}"), "generate 0"]);
        call
    }

    fn feed(&mut self, input: Input) {
        let mut out = vec![];
        self.engine.on(self.now, input, &mut out);
        for output in out {
            self.perform(&output);
            self.done.push((self.now, output));
        }
        assert!(self.engine.deadline().is_none_or(|at| at > self.now), "the deadline is in the past");
    }

    fn perform(&mut self, output: &Output) {
        match output {
            Output::Synthesize { clause, text } => {
                let is_clip = self.clips && phrases("en").contains(text);
                if let Some(delay) = if is_clip { Some(Duration::ZERO) } else { self.voice } {
                    let audio = Duration::from_millis(text.chars().count() as u64 * MS_PER_CHARACTER);
                    let clause = *clause;
                    self.coming.push((self.now + delay, Input::VoiceAudio { clause, audio }));
                    self.coming.push((self.now + delay, finished(clause)));
                }
            }
            Output::CancelSynthesis => {
                self.coming.retain(|(_, input)| !matches!(input, Input::VoiceAudio { .. }));
            }
            Output::Send { audio, .. } => {
                self.plays_until = self.plays_until.max(self.now) + *audio;
            }
            Output::Mark(mark) => {
                if let Some(way) = self.carrier {
                    let at = self.plays_until.max(self.now) + way;
                    self.coming.push((at, Input::Played { mark: *mark }));
                }
            }
            Output::Clear => {
                self.plays_until = self.now;
                for (at, input) in &mut self.coming {
                    if matches!(input, Input::Played { .. }) {
                        *at = self.now;
                    }
                }
            }
            _ => {}
        }
    }

    /// Lets time pass.
    fn advance(&mut self, by_ms: u64) {
        let until = self.now + Duration::from_millis(by_ms);
        loop {
            let coming =
                self.coming.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(i, (at, _))| (*at, i));
            let deadline = self.engine.deadline();
            match (coming, deadline) {
                (Some((at, index)), _) if at <= until && deadline.is_none_or(|due| at <= due) => {
                    let (_, input) = self.coming.remove(index);
                    self.now = self.now.max(at);
                    self.feed(input);
                }
                (_, Some(due)) if due <= until => {
                    self.now = due;
                    self.feed(Input::Wake);
                }
                _ => break,
            }
        }
        self.now = until;
    }

    /// Frames of speech, `level_db` loud, for `for_ms`.
    fn sounds(&mut self, for_ms: u64, level_db: i16) {
        for _ in 0..for_ms / 20 {
            self.advance(20);
            self.feed(Input::Frame { is_speech: true, level_db, agent_level_db: -20 });
        }
    }

    /// Frames of loud speech for `for_ms`, then one of silence.
    fn speaks(&mut self, for_ms: u64) {
        self.sounds(for_ms, -15);
        self.feed(Input::Frame { is_speech: false, level_db: -60, agent_level_db: -20 });
    }

    /// Frames of silence for `for_ms`.
    fn is_quiet(&mut self, for_ms: u64) {
        for _ in 0..for_ms / 20 {
            self.advance(20);
            self.feed(Input::Frame { is_speech: false, level_db: -60, agent_level_db: -20 });
        }
    }

    /// The transcriber delivers a final.
    fn transcribes(&mut self, text: &str) {
        self.feed(Input::Transcript { text: text.into(), is_final: true, spoken_until: None });
    }

    /// The transcriber delivers an interim.
    fn transcribes_interim(&mut self, text: &str) {
        self.feed(Input::Transcript { text: text.into(), is_final: false, spoken_until: None });
    }

    /// The transcriber delivers a final and the end of the turn.
    fn says(&mut self, text: &str) {
        self.transcribes(text);
        self.feed(Input::TurnEnded);
    }

    /// The model generates text.
    fn writes(&mut self, generation: u32, text: &str) {
        self.feed(Input::ModelText { generation: GenerationId(generation), text: text.into() });
    }

    /// The generation is complete.
    fn finishes(&mut self, generation: u32) {
        self.feed(Input::ModelFinished { generation: GenerationId(generation) });
    }

    fn fails(&mut self, generation: u32) {
        self.feed(Input::ModelFailed { generation: GenerationId(generation) });
    }

    /// The model generates all of a reply at once.
    fn answers(&mut self, generation: u32, text: &str) {
        self.writes(generation, text);
        self.finishes(generation);
    }

    fn calls(&mut self, generation: u32, id: &str) {
        self.feed(Input::ModelToolCall { generation: GenerationId(generation), call: tool(id) });
    }

    fn tool_returns(&mut self, id: &str, content: &str) {
        self.feed(Input::ToolResult { call: id.into(), content: content.into() });
    }

    /// The synthesizer delivers `for_ms` of audio.
    fn delivers(&mut self, clause: u32, for_ms: u64) {
        self.feed(Input::VoiceAudio { clause: ClauseId(clause), audio: Duration::from_millis(for_ms) });
    }

    fn completes(&mut self, clause: u32) {
        self.feed(finished(ClauseId(clause)));
    }

    fn voice_fails(&mut self, clause: u32) {
        self.feed(Input::VoiceFailed { clause: ClauseId(clause) });
    }

    /// The texts of the clauses that were sent to the synthesizer since the last `story` or `synthesized`.
    fn synthesized(&mut self) -> Vec<String> {
        let story = self.story();
        let texts = story.iter().filter(|line| line.starts_with("synthesize"));
        texts.filter_map(|line| line.split_once(": ")).map(|(_, text)| text.to_owned()).collect()
    }

    /// The engine's outputs since the last `story` or `synthesized`, without audio, marks and seconds.
    fn story(&mut self) -> Vec<String> {
        let story = self.done[self.read..].iter().filter_map(|(_, output)| story_line(output)).collect();
        self.read = self.done.len();
        story
    }

    /// Time and length of all audio that was sent, in ms.
    fn sent(&self) -> Vec<(u64, f64)> {
        let sent = |(at, output): &(CallTime, Output)| match output {
            Output::Send { audio, .. } => Some((at.0 / 1000, audio.as_secs_f64() * 1000.0)),
            _ => None,
        };
        self.done.iter().filter_map(sent).collect()
    }

    /// The events, each with the time (in ms) at which the engine reported it.
    fn events(&self) -> impl Iterator<Item = (u64, &ConversationEvent)> {
        self.done.iter().filter_map(|(at, output)| match output {
            Output::Event(event) => Some((at.0 / 1000, event)),
            _ => None,
        })
    }

    /// When each message was reported, began and ended, in ms.
    fn messages(&self) -> Vec<(u64, u64, u64)> {
        let times = |(at, event): (u64, &ConversationEvent)| match event {
            ConversationEvent::MessageSent { started_at, ended_at, .. } => {
                Some((at, started_at.0 / 1000, ended_at.0 / 1000))
            }
            _ => None,
        };
        self.events().filter_map(times).collect()
    }

    /// `clears` and `number` of each mark.
    fn marks(&self) -> Vec<(u32, u32)> {
        let mark = |(_, output): &(CallTime, Output)| match output {
            Output::Mark(mark) => Some((mark.clears, mark.number)),
            _ => None,
        };
        self.done.iter().filter_map(mark).collect()
    }

    fn history(&self) -> Vec<String> {
        let line = |line| match line {
            HistoryItem::User(text) => format!("user: {text}"),
            HistoryItem::Agent { text, .. } => format!("agent: {text}"),
            HistoryItem::ToolCalls(calls) => {
                format!("calls {}", calls.iter().map(|call| call.id.as_str()).collect::<Vec<_>>().join(", "))
            }
            HistoryItem::Note(_) => "note".into(),
            HistoryItem::ToolResult { call, content } => format!("{call} = {content}"),
        };
        self.engine.history().into_iter().map(line).collect()
    }
}

/// All audio of a clause was delivered, without a pause behind its words.
fn finished(clause: ClauseId) -> Input {
    Input::VoiceFinished { clause, trailing_silence: Duration::ZERO }
}

/// One sample at 8 kHz: lengths of audio are multiples of it.
const GRAIN: Duration = Duration::from_micros(125);

/// Lengths of audio below this number of samples.
fn audio(samples: u32) -> impl Strategy<Value = Duration> {
    (0..samples).prop_map(|samples| GRAIN * samples)
}

fn tool(id: &str) -> FunctionCall {
    FunctionCall { id: id.into(), name: "look".into(), arguments: "{}".into(), provider_state: None }
}

/// An output as a line of the story; none for audio, marks and seconds.
fn story_line(output: &Output) -> Option<String> {
    let side = |role: &Role| if *role == Role::Agent { "agent" } else { "user" };
    Some(match output {
        Output::StartGeneration { generation } => format!("generate {}", generation.0),
        Output::CancelGeneration { generation } => format!("cancel generation {}", generation.0),
        Output::Synthesize { clause, text } => format!("synthesize {}: {text}", clause.0),
        Output::CancelSynthesis => "cancel synthesis".into(),
        Output::Clear => "clear".into(),
        Output::Rewind { clause, audio } => format!("rewind {} by {audio:?}", clause.0),
        Output::CallTool(call) => format!("call {}", call.id),
        Output::End { reason } => format!("end: {reason:?}"),
        Output::HandOver { unspoken: None } => "hand over".into(),
        Output::HandOver { unspoken: Some(unspoken) } => format!("hand over: {unspoken}"),
        Output::Event(ConversationEvent::SpeechStarted(role)) => format!("{} starts", side(role)),
        Output::Event(ConversationEvent::SpeechEnded(role)) => format!("{} stops", side(role)),
        Output::Event(ConversationEvent::MessageGenerated { content }) => format!("generated: {content}"),
        Output::Event(ConversationEvent::MessageSent { role, content, interrupted: false, .. }) => {
            format!("{}: {content}", side(role))
        }
        Output::Event(ConversationEvent::MessageSent { role, content, .. }) => {
            format!("{}, cut off: {content}", side(role))
        }
        Output::Event(ConversationEvent::FunctionCall(call)) => format!("function {}", call.id),
        Output::Event(ConversationEvent::ProviderTimedOut(part)) => format!("late: {part:?}"),
        Output::Event(ConversationEvent::ModelFault(fault)) => format!("model: {fault:?}"),
        Output::ReplaceTranscriber => "replace transcriber".into(),
        Output::FinalizeTranscript => "finalize".into(),
        Output::Send { .. } | Output::Mark(_) | Output::Event(ConversationEvent::Duration { .. }) => {
            return None;
        }
    })
}
