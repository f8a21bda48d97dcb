//! Any inputs in any order: the outputs are legal, and the call ends.

mod inputs;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use self::inputs::{input, inputs, settings, takeover};
use super::*;
use crate::replay::{Header, Log, LoggedStep};

/// Whether audio has a length that every format can express, and is not empty.
fn is_whole_samples(audio: Duration) -> bool {
    !audio.is_zero() && audio.as_micros().is_multiple_of(GRAIN.as_micros())
}

/// The rules that every sequence of outputs keeps, checked output by output.
#[derive(Default)]
struct Law {
    ended: bool,
    closed: bool,
    spoken: BTreeSet<ClauseId>,
    asked: BTreeSet<GenerationId>,
    /// Audio that was delivered and not sent.
    unsent: BTreeMap<ClauseId, Duration>,
    sending: Option<ClauseId>,
    /// Since the last clear: when the first audio was sent, and how much was.
    first_sent_at: Option<CallTime>,
    sent: Duration,
    clears: u32,
    last_mark: Option<u32>,
    generated: BTreeSet<String>,
    /// The synthesizer has reported word times.
    has_word_times: bool,
    speaking: Vec<Role>,
    /// The last second that was reported.
    seconds: u64,
    handed_over_at: Option<CallTime>,
}

impl Law {
    fn takes_in(&mut self, input: &Input) {
        match input {
            Input::VoiceAudio { clause, audio } if self.spoken.contains(clause) => {
                *self.unsent.entry(*clause).or_default() += *audio;
            }
            Input::VoiceWords { words, .. } => self.has_word_times |= !words.is_empty(),
            Input::ModelText { text, .. } => self.learns(text),
            _ => {}
        }
        self.closed |= *input == Input::StreamClosed;
    }

    /// Whether a word was generated. A word time may lie within a word, which is then heard in part.
    fn knows(&self, word: &str) -> bool {
        let is_part = |known: &String| self.has_word_times && known.contains(word);
        self.generated.iter().any(|known| word.contains(known) || is_part(known))
    }

    fn learns(&mut self, text: &str) {
        self.generated.extend(letters(text));
    }

    fn allows(&mut self, at: CallTime, output: &Output) -> Result<(), TestCaseError> {
        prop_assert!(!self.ended, "{output:?} after the end");
        match output {
            Output::StartGeneration { generation } => {
                prop_assert!(!self.closed);
                prop_assert!(self.asked.insert(*generation), "a number was used twice");
            }
            Output::CancelGeneration { generation } => prop_assert!(self.asked.contains(generation)),
            Output::Synthesize { clause, text } => {
                prop_assert!(self.spoken.last().is_none_or(|last| last < clause), "numbers must grow");
                prop_assert!(text.contains(char::is_alphanumeric));
                self.spoken.insert(*clause);
            }
            Output::CancelSynthesis => {
                self.unsent.clear();
                self.spoken.clear();
            }
            Output::Send { clause, audio } => {
                prop_assert!(is_whole_samples(*audio));
                prop_assert!(self.spoken.contains(clause), "the clause was not requested, or was cancelled");
                let unsent = self.unsent.entry(*clause).or_default();
                prop_assert!(*audio <= *unsent, "more than was delivered");
                *unsent -= *audio;
                self.sending = Some(*clause);
                self.sent += *audio;
                let elapsed = at.since(*self.first_sent_at.get_or_insert(at));
                let allowed = Duration::from_millis(400) + elapsed;
                prop_assert!(self.sent <= allowed, "more than 400 ms ahead");
            }
            Output::Rewind { clause, audio } => {
                prop_assert!(is_whole_samples(*audio) && self.spoken.contains(clause));
                *self.unsent.entry(*clause).or_default() += *audio;
            }
            Output::Mark(mark) => {
                prop_assert!(self.sending.is_some(), "a mark without audio before it");
                prop_assert_eq!(mark.clears, self.clears);
                prop_assert!(self.last_mark.is_none_or(|last| last < mark.number));
                self.last_mark = Some(mark.number);
            }
            Output::Clear => {
                prop_assert!(self.first_sent_at.is_some(), "nothing to clear");
                self.clears += 1;
                self.first_sent_at = None;
                self.sent = Duration::ZERO;
            }
            Output::CallTool(_) | Output::ReplaceTranscriber | Output::FinalizeTranscript => {}
            Output::Event(event) => self.allows_event(event)?,
            Output::End { .. } => self.ended = true,
            Output::HandOver { unspoken } => {
                self.ended = true;
                self.handed_over_at = Some(at);
                prop_assert!(!self.closed);
                prop_assert!(self.speaking.is_empty(), "a side still speaks after the handover");
                for word in unspoken.iter().flat_map(|unspoken| letters(unspoken)) {
                    prop_assert!(self.knows(&word), "a word that was never generated: {word}");
                }
            }
        }
        Ok(())
    }

    fn allows_event(&mut self, event: &ConversationEvent) -> Result<(), TestCaseError> {
        match event {
            ConversationEvent::SpeechStarted(role) => {
                prop_assert!(!self.speaking.contains(role), "{role:?} started twice");
                self.speaking.push(*role);
            }
            ConversationEvent::Duration { seconds } => {
                prop_assert!(*seconds > self.seconds, "a second was reported twice");
                self.seconds = *seconds;
            }
            ConversationEvent::SpeechEnded(role) => {
                prop_assert!(self.speaking.contains(role), "{role:?} stopped without starting");
                self.speaking.retain(|speaking| speaking != role);
            }
            ConversationEvent::MessageSent { role, content, started_at, ended_at, latency, .. } => {
                prop_assert!(started_at <= ended_at);
                prop_assert!(!content.trim().is_empty());
                prop_assert!(*role == Role::Agent || latency.is_none());
                if *role == Role::Agent {
                    for word in letters(content) {
                        prop_assert!(self.knows(&word), "a word that was never generated: {word}");
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn letters(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_owned)
}

/// Feeds an engine, and checks every output.
struct Trial {
    engine: Engine,
    law: Law,
    at: CallTime,
    outputs: Vec<Output>,
}

impl Trial {
    fn new(settings: EngineSettings) -> Self {
        let mut law = Law::default();
        law.learns(settings.disclosure.as_deref().unwrap_or_default());
        law.learns(settings.greeting.as_deref().unwrap_or_default());
        if let Some(takeover) = &settings.takeover {
            law.learns(takeover.unspoken.as_deref().unwrap_or_default());
            law.seconds = takeover.elapsed.as_secs();
        }
        for phrase in phrases(&settings.language) {
            law.learns(&phrase);
        }
        Self { engine: Engine::new(settings), law, at: CallTime::default(), outputs: vec![] }
    }

    fn feed(&mut self, input: Input) -> Result<(), TestCaseError> {
        self.law.takes_in(&input);
        let mut out = vec![];
        self.engine.on(self.at, input, &mut out);
        for output in &out {
            self.law.allows(self.at, output)?;
        }
        self.outputs.extend(out);
        prop_assert!(self.engine.deadline().is_none_or(|due| due > self.at), "the deadline is in the past");
        prop_assert!(!self.law.ended || self.engine.deadline().is_none());
        self.history_is_legal()
    }

    /// Wakes the engine at its deadlines until `until`.
    fn wake(&mut self, until: CallTime) -> Result<(), TestCaseError> {
        let mut wakes = 0;
        while let Some(due) = self.engine.deadline().filter(|due| *due <= until) {
            self.at = due;
            self.feed(Input::Wake)?;
            wakes += 1;
            // Fifty frames a second for two minutes, and one report a second.
            prop_assert!(wakes <= 52 * 120, "too many deadlines");
        }
        Ok(())
    }

    fn history_is_legal(&self) -> Result<(), TestCaseError> {
        let mut due: Vec<String> = vec![];
        let mut before = None;
        for line in self.engine.history() {
            if let HistoryItem::ToolResult { call, .. } = &line {
                let index = due.iter().position(|id| id == call);
                prop_assert!(index.is_some(), "a result without a call");
                due.remove(index.unwrap());
            } else {
                prop_assert!(due.is_empty(), "calls without results");
            }
            match &line {
                HistoryItem::ToolCalls(calls) => due.extend(calls.iter().map(|call| call.id.clone())),
                HistoryItem::User(text) | HistoryItem::Agent { text, .. } => {
                    prop_assert!(!text.trim().is_empty());
                }
                HistoryItem::Note(_) | HistoryItem::ToolResult { .. } => {}
            }
            let kind = std::mem::discriminant(&line);
            prop_assert!(
                before != Some(kind)
                    || matches!(line, HistoryItem::ToolResult { .. } | HistoryItem::ToolCalls(_)),
                "two items of one side in a row"
            );
            before = Some(kind);
        }
        prop_assert!(due.is_empty(), "calls without results");
        Ok(())
    }
}

/// Feeds all inputs; `prompt`: also wakes the engine at every deadline in between.
fn run(settings: EngineSettings, inputs: &[(u64, Input)], prompt: bool) -> Result<Trial, TestCaseError> {
    let mut trial = Trial::new(settings);
    for (after, input) in inputs {
        let at = trial.at + Duration::from_micros(*after);
        // During a long gap the engine would be woken every second, which is slow.
        if prompt && *after < 5_000_000 {
            trial.wake(at)?;
        }
        trial.at = at;
        trial.feed(input.clone())?;
    }
    Ok(trial)
}

proptest! {
    #[test]
    fn any_sequence_is_legal_and_closing_ends_it(settings in settings(), inputs in inputs(), prompt in any::<bool>()) {
        let mut trial = run(settings, &inputs, prompt)?;
        trial.feed(Input::StreamClosed)?;
        prop_assert!(trial.law.ended);
        prop_assert!(trial.law.speaking.is_empty(), "a side still speaks after the end");
        trial.feed(Input::MediaStarted)?;
        trial.feed(Input::HangUp)?;
    }

    #[test]
    fn after_a_hang_up_waking_alone_ends_the_call_in_time(settings in settings(), inputs in inputs(), prompt in any::<bool>()) {
        let mut trial = run(settings, &inputs, prompt)?;
        let was_ended = trial.law.ended;
        trial.feed(Input::HangUp)?;
        let requested_at = trial.at;
        trial.wake(requested_at + Duration::from_secs(10))?;
        prop_assert!(trial.law.ended);
        prop_assert!(was_ended || trial.at.since(requested_at) <= Duration::from_secs(10));
    }

    #[test]
    fn after_a_drain_waking_alone_hands_the_call_over_in_time(settings in settings(), inputs in inputs(), prompt in any::<bool>()) {
        let settings = EngineSettings { max_duration: None, ..settings };
        let mut trial = run(settings, &inputs, prompt)?;
        let (was_ended, was_ending) = (trial.law.ended, inputs.iter().any(|(_, input)| *input == Input::HangUp));
        trial.feed(Input::Drain)?;
        let requested_at = trial.at;
        trial.wake(requested_at + Duration::from_secs(20))?;
        prop_assert!(trial.law.ended);
        let is_goodbye = trial.outputs.iter().any(|output| matches!(output, Output::End { .. }));
        match trial.law.handed_over_at {
            Some(at) => prop_assert!(was_ended || at.since(requested_at) <= Duration::from_secs(5)),
            None => prop_assert!(was_ended || was_ending || is_goodbye),
        }
        let is_last = |output: &Output| matches!(output, Output::End { .. } | Output::HandOver { .. });
        prop_assert_eq!(trial.outputs.iter().filter(|output| is_last(output)).count(), 1);
        prop_assert!(trial.outputs.last().is_some_and(is_last));
    }

    #[test]
    fn the_utterance_in_progress_is_what_a_closed_stream_reports(settings in settings(), inputs in inputs()) {
        let mut trial = run(settings, &inputs, true)?;
        if trial.law.ended {
            prop_assert_eq!(trial.engine.in_progress(trial.at), None);
            return Ok(());
        }
        let speaking = trial.engine.in_progress(trial.at);
        let before = trial.outputs.len();
        trial.feed(Input::StreamClosed)?;
        let told = trial.outputs[before..].iter().find_map(|output| match output {
            Output::Event(ConversationEvent::MessageSent { role: Role::Agent, content, started_at, .. }) => {
                Some((content.clone(), *started_at))
            }
            _ => None,
        });
        prop_assert_eq!(speaking.map(|utterance| (utterance.heard, utterance.started_at)), told);
    }

    #[test]
    fn the_history_has_the_heard_words_of_the_messages(settings in settings(), inputs in inputs()) {
        let settings = EngineSettings { takeover: None, ..settings };
        let mut trial = run(settings, &inputs, true)?;
        trial.feed(Input::StreamClosed)?;
        // The model does not see the hold phrases of a turn that it still has to reply to.
        let answers = |text: &str| {
            text.split(' ').filter(|word| !HOLD_PHRASE.contains(*word)).map(str::to_owned).collect::<Vec<_>>()
        };
        let told: Vec<_> = trial.outputs.iter().flat_map(|output| match output {
            Output::Event(ConversationEvent::MessageSent { role: Role::Agent, content, .. }) => answers(content),
            _ => vec![],
        }).collect();
        let known: Vec<_> = trial.engine.history().iter().flat_map(|line| match line {
            HistoryItem::Agent { text, .. } => answers(text),
            _ => vec![],
        }).collect();
        prop_assert_eq!(told, known);
    }

    #[test]
    fn left_alone_every_call_comes_to_rest(takeover in prop::option::of(takeover()), inputs in inputs()) {
        let short = |(after, input): (u64, Input)| match input {
            Input::VoiceAudio { clause, audio } => {
                (after, Input::VoiceAudio { clause, audio: audio.min(Duration::from_millis(500)) })
            }
            input => (after, input),
        };
        let inputs: Vec<_> = inputs.into_iter().map(short).collect();
        let mut trial = run(EngineSettings { takeover, ..EngineSettings::default() }, &inputs, true)?;
        // Providers are silent from now on: after the apologies only the seconds are left.
        let from = trial.at;
        trial.wake(from + Duration::from_mins(2))?;
        let before = trial.outputs.len();
        trial.wake(from + Duration::from_mins(4))?;
        let seconds = |output: &Output| matches!(output, Output::Event(ConversationEvent::Duration { .. }));
        prop_assert!(trial.outputs[before..].iter().all(seconds), "{:?}", &trial.outputs[before..]);
    }

    #[test]
    fn a_written_log_replays_to_the_same_outputs(settings in settings(), inputs in inputs()) {
        let mut engine = Engine::new(settings.clone());
        let mut log = serde_json::to_string(&Header::new(settings)).unwrap();
        let mut at = CallTime::default();
        for (after, input) in inputs {
            at = at + Duration::from_micros(after);
            let mut outputs = vec![];
            engine.on(at, input.clone(), &mut outputs);
            log.push('\n');
            log.push_str(&serde_json::to_string(&LoggedStep { at, input, outputs }).unwrap());
        }
        let read = Log::parse(&log).unwrap();
        prop_assert_eq!(read.difference(), None);
        let broken = Log::parse(&log[..log.len() - 1]).map(|log| log.steps.len());
        prop_assert!(read.steps.is_empty() || broken.unwrap() == read.steps.len() - 1);
    }

    #[test]
    fn the_same_inputs_lead_to_the_same_outputs(settings in settings(), inputs in inputs()) {
        let (one, other) = (run(settings.clone(), &inputs, true)?, run(settings, &inputs, true)?);
        prop_assert_eq!(one.outputs, other.outputs);
        prop_assert_eq!(one.engine.history(), other.engine.history());
    }

    #[test]
    fn no_time_is_too_large(elapsed in prop::option::of(any::<u64>()), times in prop::collection::vec((any::<u64>(), input()), 0..30)) {
        let takeover = elapsed.map(|seconds| Takeover {
            elapsed: Duration::from_secs(seconds),
            ..Takeover::default()
        });
        let mut trial = Trial::new(EngineSettings { greeting: Some("Aa bb.".into()), takeover, ..EngineSettings::default() });
        for (at, input) in times {
            trial.at = trial.at.max(CallTime(at));
            trial.feed(input)?;
        }
        trial.at = CallTime(u64::MAX);
        trial.feed(Input::Wake)?;
        trial.feed(Input::StreamClosed)?;
        prop_assert!(trial.law.ended);
    }
}
