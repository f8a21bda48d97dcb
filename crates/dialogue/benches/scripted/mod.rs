//! The inputs of an ordinary call: the carrier's frames and marks, the transcriber's words, the model's text and the
//! synthesizer's audio.

use std::{collections::BTreeMap, time::Duration};

use switchboard_dialogue::{CallTime, ClauseId, Engine, EngineSettings, GenerationId, Input, Mark, Output};

/// Length of the call.
pub(crate) const LASTS: Duration = Duration::from_mins(1);

const GREETING: &str = "Hello, this is Ada of the bakery at the corner. How can I help you today?";
/// The caller's turns: begin and end in ms, and the words. The second one interrupts the agent.
const CALLER: [(u64, u64, &str); 4] = [
    (6_500, 8_500, "When do you close on Saturdays, and do you have cakes then?"),
    (15_000, 16_800, "Wait, how much is the one with the cherries?"),
    (30_000, 31_500, "Then I would like two of them."),
    (45_000, 45_900, "That was all, thank you."),
];
const ANSWER: &str = "On Saturdays we close at six in the evening. We have cakes with apples, with cherries, and with \
                      plums, all of them baked in the morning. If you like, I can put one aside for you. Which one \
                      would you like to have?";
const FRAME_MS: u64 = 20;
/// Time until the model's first token, and between two tokens, in ms.
const MODEL: (u64, u64) = (350, 15);
/// Time until the synthesizer's first audio, and between two chunks, in ms.
const VOICE: (u64, u64) = (150, 40);
const CHUNK: Duration = Duration::from_millis(200);
/// Length of speech per character: about 15 characters a second.
const PER_CHARACTER: Duration = Duration::from_micros(66_250);
/// Time until the carrier returns a mark, in ms.
const CARRIER_MS: u64 = 30;

/// The settings of the call's agent.
pub(crate) fn settings() -> EngineSettings {
    EngineSettings {
        greeting: Some(GREETING.into()),
        language: "en".into(),
        weighs_sounds: true,
        ..EngineSettings::default()
    }
}

/// The inputs of the call, each with its time.
pub(crate) fn call() -> Vec<(CallTime, Input)> {
    let mut call = Call::default();
    call.will(CallTime(0), Input::MediaStarted);
    for (from, to, text) in CALLER {
        call.is_said(from, to, text);
    }
    let mut engine = Engine::new(settings());
    let (mut told, mut outputs, mut frame, mut was_speech) = (vec![], vec![], FRAME_MS, false);
    loop {
        let next = call.coming.first_key_value().map(|((at, _), _)| *at);
        let due = [next, engine.deadline(), Some(ms(frame))].into_iter().flatten().min();
        let Some(at) = due.filter(|at| *at < CallTime(0) + LASTS) else { return told };
        let input = if next == Some(at) {
            call.coming.pop_first().map(|(_, input)| input)
        } else if engine.deadline() == Some(at) {
            Some(Input::Wake)
        } else {
            let is_speech = CALLER.iter().any(|(from, to, _)| (*from..*to).contains(&frame));
            // The engine needs a frame without speech only while the agent is audible, and after speech.
            let is_wanted =
                is_speech || std::mem::replace(&mut was_speech, is_speech) || engine.is_audible(at);
            was_speech = is_speech;
            frame += FRAME_MS;
            let level_db = if is_speech { -18 } else { -60 };
            is_wanted.then_some(Input::Frame { is_speech, level_db, agent_level_db: -20 })
        };
        let Some(input) = input else { continue };
        engine.on(at, input.clone(), &mut outputs);
        told.push((at, input));
        for output in outputs.drain(..) {
            call.performs(at, output);
        }
    }
}

#[derive(Default)]
struct Call {
    /// The inputs to come, by time; the number keeps the order of inputs with the same time.
    coming: BTreeMap<(CallTime, u32), Input>,
    numbers: u32,
    plays_until: CallTime,
}

impl Call {
    fn will(&mut self, at: CallTime, input: Input) {
        self.coming.insert((at, self.numbers), input);
        self.numbers += 1;
    }

    /// The transcriber follows the caller: an interim for every word, and a final at the end.
    fn is_said(&mut self, from: u64, to: u64, text: &str) {
        self.will(ms(from + 100), Input::SpeechStarted);
        let spaces: Vec<_> = text.match_indices(' ').map(|(index, _)| index).collect();
        let word_ms = (to - from) / (spaces.len() as u64 + 1);
        for (nth, index) in spaces.into_iter().enumerate() {
            let ends = from + word_ms * (nth as u64 + 1);
            let text = text[..index].to_owned();
            self.will(
                ms(ends + 200),
                Input::Transcript { text, is_final: false, spoken_until: Some(ms(ends)) },
            );
        }
        let text = text.to_owned();
        self.will(ms(to + 300), Input::Transcript { text, is_final: true, spoken_until: Some(ms(to)) });
        self.will(ms(to + 300), Input::TurnEnded);
    }

    fn performs(&mut self, at: CallTime, output: Output) {
        match output {
            Output::StartGeneration { generation } => self.is_asked(at, generation),
            Output::CancelGeneration { .. } => {
                self.never(|input| matches!(input, Input::ModelText { .. } | Input::ModelFinished { .. }));
            }
            Output::Synthesize { clause, text } => self.is_spoken(at, clause, text.chars().count()),
            Output::CancelSynthesis => {
                self.never(|input| matches!(input, Input::VoiceAudio { .. } | Input::VoiceFinished { .. }));
            }
            Output::Send { audio, .. } => self.plays_until = self.plays_until.max(at) + audio,
            Output::Mark(mark) => self.comes_back(mark),
            Output::Clear => self.plays_until = at,
            _ => {}
        }
    }

    fn is_asked(&mut self, at: CallTime, generation: GenerationId) {
        let mut at = at + Duration::from_millis(MODEL.0);
        for text in ANSWER.split_inclusive(' ').map(str::to_owned) {
            self.will(at, Input::ModelText { generation, text });
            at = at + Duration::from_millis(MODEL.1);
        }
        self.will(at, Input::ModelFinished { generation });
    }

    fn is_spoken(&mut self, at: CallTime, clause: ClauseId, characters: usize) {
        let mut at = at + Duration::from_millis(VOICE.0);
        let mut left = PER_CHARACTER * u32::try_from(characters).expect("a clause is short");
        while !left.is_zero() {
            let audio = left.min(CHUNK);
            left -= audio;
            self.will(at, Input::VoiceAudio { clause, audio });
            at = at + Duration::from_millis(VOICE.1);
        }
        self.will(at, Input::VoiceFinished { clause, trailing_silence: Duration::ZERO });
    }

    fn comes_back(&mut self, mark: Mark) {
        self.will(self.plays_until + Duration::from_millis(CARRIER_MS), Input::Played { mark });
    }

    fn never(&mut self, is: impl Fn(&Input) -> bool) {
        self.coming.retain(|_, input| !is(input));
    }
}

fn ms(ms: u64) -> CallTime {
    CallTime(ms * 1000)
}
