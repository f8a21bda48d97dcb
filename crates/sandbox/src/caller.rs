//! The simulated people: what they say, and when they say it.
//!
//! [`Callers`] knows every person's script and has their lines spoken before they are due. [`Person`] is one
//! of them on one call: a state machine stepped every 20 ms with what is heard, that knows nothing of
//! sockets, clocks or the carrier. The scripts are data, in `scripts/callers.json`.

use std::{collections::HashMap, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::{
    audio::{self, FRAME_BYTES, SILENCE, Segment, Segmenter},
    speech::Speech,
};

/// Silence after which a person takes the other side to have finished.
const TURN_SILENCE: Duration = Duration::from_millis(700);
/// Silence of both sides after which a person asks whether anybody is there, and after as much again hangs up.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a person with nothing left to say waits for the other side to hang up.
const FAREWELL: Duration = Duration::from_secs(20);
/// Utterances being recognised at a time; more than that are not understood.
const HEARING_LIMIT: usize = 16;

const SCRIPTS: &str = include_str!("../scripts/callers.json");
/// The script of every number that has none of its own.
const DEFAULT: &str = "default";

/// One person's part, as written down.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    /// Speed of speech, 1.0 being the voice's own: so the two sides of a call can be told apart.
    speed: f32,
    /// What a person takes to begin to answer.
    pause_ms: u64,
    /// Said one by one, each after the other side has finished speaking.
    lines: Vec<String>,
    /// Said when nobody speaks.
    when_nobody_speaks: String,
}

/// A text with its sound in mu-law.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) audio: Bytes,
}

/// A script with its sound: all a person needs for a call.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) pause: Duration,
    pub(crate) lines: Vec<Line>,
    pub(crate) when_nobody_speaks: Line,
}

/// Everybody who can be called.
pub(crate) struct Callers {
    speech: Speech,
    /// By number, or [`DEFAULT`]. A part is spoken once, whoever calls.
    people: HashMap<String, (Script, OnceCell<Part>)>,
}

impl Callers {
    /// The people of the built-in scripts.
    pub(crate) fn new(speech: Speech) -> anyhow::Result<Self> {
        let scripts: HashMap<String, Script> =
            serde_json::from_str(SCRIPTS).context("scripts/callers.json")?;
        anyhow::ensure!(scripts.contains_key(DEFAULT), "scripts/callers.json has no script named {DEFAULT}");
        let people =
            scripts.into_iter().map(|(number, script)| (number, (script, OnceCell::new()))).collect();
        Ok(Self { speech, people })
    }

    /// People who all have this one part, which needs no speaking.
    #[cfg(test)]
    pub(crate) fn with_part(speech: Speech, part: Part) -> Self {
        let script = Script { speed: 1.0, pause_ms: 0, lines: vec![], when_nobody_speaks: String::new() };
        Self { speech, people: [(DEFAULT.to_owned(), (script, OnceCell::new_with(Some(part))))].into() }
    }

    /// The part of the person at this number, spoken now if it never was before.
    pub(crate) async fn part(&self, number: &str) -> anyhow::Result<Part> {
        let person = self.people.get(number).or_else(|| self.people.get(DEFAULT));
        let (script, part) = person.context("nobody has this number")?;
        part.get_or_try_init(|| self.rehearse(script)).await.cloned()
    }

    /// What the people recognise speech with.
    pub(crate) fn speech(&self) -> &Speech {
        &self.speech
    }

    async fn rehearse(&self, script: &Script) -> anyhow::Result<Part> {
        let mut lines = Vec::with_capacity(script.lines.len());
        for text in &script.lines {
            lines.push(self.speak(text, script.speed).await?);
        }
        let when_nobody_speaks = self.speak(&script.when_nobody_speaks, script.speed).await?;
        Ok(Part { pause: Duration::from_millis(script.pause_ms), lines, when_nobody_speaks })
    }

    async fn speak(&self, text: &str, speed: f32) -> anyhow::Result<Line> {
        let audio = self.speech.synthesize(text, speed).await?;
        Ok(Line { text: text.to_owned(), audio: Bytes::copy_from_slice(trimmed(&audio)) })
    }
}

/// A stretch of speech that a person heard. Times are since the call was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Utterance {
    pub(crate) start: Duration,
    pub(crate) end: Duration,
    /// Mu-law.
    pub(crate) audio: Vec<u8>,
}

/// What a person does beside making sound.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Listens to what the other side has just said; to be answered by [`Person::understood`].
    Recognise(Utterance),
    /// Begins to say this.
    Say { text: String, start: Duration, end: Duration },
    /// Hangs up.
    HangUp,
}

/// What a person made of what they heard; the later weighs more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Understood {
    /// Nothing, or noise.
    Nothing,
    Words,
    /// The other side wants the last line again.
    AskedAgain,
}

/// A person on a call. Times are since the call was answered.
pub(crate) struct Person {
    part: Part,
    ears: Segmenter,
    /// Bytes heard in all: the ears' own clock, which stands still while nothing is connected.
    heard_bytes: usize,
    /// What was heard and not yet recognised.
    recognising: usize,
    /// The other side has finished: answer, not before this.
    answer_at: Option<Duration>,
    /// What was recognised since the person last spoke.
    understood: Understood,
    /// Lines said.
    said: usize,
    /// The last line has been repeated.
    repeated: bool,
    /// What is being said, and how much of it has been.
    saying: Option<(Bytes, usize)>,
    /// Since when both sides are silent.
    quiet_since: Duration,
    /// Has asked whether anybody is there, and heard nothing since.
    asked_who: bool,
}

impl Person {
    pub(crate) fn new(part: Part) -> Self {
        Self {
            part,
            ears: Segmenter::new(TURN_SILENCE),
            heard_bytes: 0,
            recognising: 0,
            answer_at: None,
            understood: Understood::Nothing,
            said: 0,
            repeated: false,
            saying: None,
            quiet_since: Duration::ZERO,
            asked_who: false,
        }
    }

    /// Lives through 20 ms: hears one frame and fills another with what is said meanwhile.
    pub(crate) fn step(&mut self, now: Duration, heard: &[u8], said: &mut [u8; FRAME_BYTES]) -> Vec<Action> {
        let mut actions = Vec::new();
        self.listen(now, heard, &mut actions);
        if self.saying.is_none() {
            actions.extend(self.decide(now));
        }
        self.sound(now, said);
        actions
    }

    /// What was recognised of an utterance: its words, none, or `None` if it could not be told.
    pub(crate) fn understood(&mut self, text: Option<&str>) {
        self.recognising = self.recognising.saturating_sub(1);
        let understood = match text {
            Some(text) if text.trim().is_empty() => Understood::Nothing,
            Some(text) if asks_again(text) => Understood::AskedAgain,
            // A person who could not make it out answers as if they had: the call must go on.
            Some(_) | None => Understood::Words,
        };
        self.understood = self.understood.max(understood);
    }

    /// The call is over: what was being heard, if anything.
    pub(crate) fn leave(&mut self, now: Duration) -> Option<Utterance> {
        match self.ears.flush()? {
            Segment::Ended { start, end, audio } => Some(self.utterance(now, start, end, audio)),
            Segment::Started { .. } => None,
        }
    }

    fn listen(&mut self, now: Duration, heard: &[u8], actions: &mut Vec<Action>) {
        self.heard_bytes += heard.len();
        for segment in self.ears.push(heard) {
            self.quiet_since = now;
            match segment {
                Segment::Started { .. } => {
                    self.asked_who = false;
                    self.answer_at = None;
                }
                Segment::Ended { start, end, audio } => {
                    self.answer_at = Some(now + self.part.pause);
                    if self.recognising < HEARING_LIMIT {
                        self.recognising += 1;
                        actions.push(Action::Recognise(self.utterance(now, start, end, audio)));
                    }
                }
            }
        }
    }

    /// Converts the ears' times, which are since the first byte they heard.
    fn utterance(&self, now: Duration, start: Duration, end: Duration, audio: Vec<u8>) -> Utterance {
        let ago = |at: Duration| now.saturating_sub(audio::duration(self.heard_bytes).saturating_sub(at));
        Utterance { start: ago(start), end: ago(end), audio }
    }

    fn decide(&mut self, now: Duration) -> Option<Action> {
        if self.answer_at.is_some_and(|at| at <= now) && self.recognising == 0 {
            self.answer_at = None;
            if let Some(line) = self.next_line() {
                return Some(self.say(now, line));
            }
        }
        let silent = now.saturating_sub(self.quiet_since);
        if self.said >= self.part.lines.len() {
            return (silent >= FAREWELL).then_some(Action::HangUp);
        }
        if self.ears.current().is_some() || self.recognising > 0 || silent < PATIENCE {
            return None;
        }
        if std::mem::replace(&mut self.asked_who, true) {
            return Some(Action::HangUp);
        }
        let line = self.part.when_nobody_speaks.clone();
        Some(self.say(now, line))
    }

    /// The last line once more if that was asked for, else the next one if there is one.
    fn next_line(&mut self) -> Option<Line> {
        let again = match std::mem::replace(&mut self.understood, Understood::Nothing) {
            // Noise is no reason to speak.
            Understood::Nothing => return None,
            Understood::Words => false,
            Understood::AskedAgain => !self.repeated && self.said > 0,
        };
        if !again {
            self.part.lines.get(self.said)?;
            self.said += 1;
        }
        self.repeated = again;
        self.part.lines.get(self.said - 1).cloned()
    }

    fn say(&mut self, now: Duration, line: Line) -> Action {
        let end = now + audio::duration(line.audio.len());
        self.saying = Some((line.audio, 0));
        Action::Say { text: line.text, start: now, end }
    }

    fn sound(&mut self, now: Duration, said: &mut [u8; FRAME_BYTES]) {
        said.fill(SILENCE);
        let Some((audio, done)) = &mut self.saying else { return };
        let rest = &audio[*done..];
        let length = rest.len().min(FRAME_BYTES);
        said[..length].copy_from_slice(&rest[..length]);
        *done += length;
        self.quiet_since = now;
        if *done == audio.len() {
            self.saying = None;
        }
    }
}

/// Speech without the silence around it, so that a line begins and ends when its record says so.
fn trimmed(audio: &[u8]) -> &[u8] {
    /// Quieter than any speech: -46 dBFS.
    const QUIET: u16 = 164;
    /// Kept on either side (40 ms), for the breath of a first or last sound.
    const MARGIN: usize = 320;
    let loud = |&byte: &u8| audio::decode(byte).unsigned_abs() >= QUIET;
    let start = audio.iter().position(loud).unwrap_or(0).saturating_sub(MARGIN);
    let end = audio.iter().rposition(loud).map_or(audio.len(), |last| (last + MARGIN).min(audio.len()));
    &audio[start..end]
}

/// Whether somebody asks to hear the last words again.
fn asks_again(text: &str) -> bool {
    let text = text.to_lowercase();
    ["say that again", "say it again", "repeat", "sorry", "pardon", "didn't catch"]
        .iter()
        .any(|p| text.contains(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);
    /// Loud in mu-law: a square wave as far as the ears are concerned.
    const LOUD: [u8; FRAME_BYTES] = [0x90; FRAME_BYTES];
    const QUIET: [u8; FRAME_BYTES] = [SILENCE; FRAME_BYTES];

    /// A call in virtual time: what was done, in whole milliseconds.
    struct Call {
        person: Person,
        now: Duration,
        said: Vec<(u128, String)>,
        hung_up: Option<u128>,
        loud_frames: usize,
    }

    impl Call {
        fn new() -> Self {
            let line = |text: &str| Line { text: text.to_owned(), audio: vec![1; 1000].into() };
            let part = Part {
                pause: Duration::from_millis(300),
                lines: vec![line("question"), line("goodbye")],
                when_nobody_speaks: line("hello?"),
            };
            let person = Person::new(part);
            Self { person, now: Duration::ZERO, said: vec![], hung_up: None, loud_frames: 0 }
        }

        /// So much of one sound; whatever is recognised meanwhile says `text`.
        fn hear(&mut self, frame: &[u8], length: Duration, text: &str) -> &mut Self {
            let until = self.now + length;
            while self.now < until && self.hung_up.is_none() {
                let mut said = [0; FRAME_BYTES];
                for action in self.person.step(self.now, frame, &mut said) {
                    match action {
                        Action::Recognise(_) => self.person.understood(Some(text)),
                        Action::Say { text, start, .. } => self.said.push((start.as_millis(), text)),
                        Action::HangUp => self.hung_up = Some(self.now.as_millis()),
                    }
                }
                self.loud_frames += usize::from(said != QUIET);
                self.now += FRAME;
            }
            self
        }

        fn agent_says(&mut self, text: &str) -> &mut Self {
            self.hear(&LOUD, Duration::from_secs(2), text).hear(&QUIET, Duration::from_secs(2), text)
        }

        fn texts(&self) -> Vec<&str> {
            self.said.iter().map(|(_, text)| text.as_str()).collect()
        }
    }

    #[test]
    fn a_person_answers_a_second_after_the_agent_has_finished() {
        let mut call = Call::new();
        call.agent_says("hello, this is the bakery");
        // 2000 ms of speech, 700 ms to be sure that it is over, 300 ms of a human pause, less one frame.
        assert_eq!(call.said, [(2980, "question".to_owned())]);
        assert_eq!(call.loud_frames, 7, "1000 bytes are six frames and a bit");
    }

    #[test]
    fn a_person_says_goodbye_then_waits_20_s_to_be_hung_up_on() {
        let mut call = Call::new();
        call.agent_says("hello").agent_says("at six").agent_says("goodbye");
        assert_eq!(call.texts(), ["question", "goodbye"]);
        call.hear(&QUIET, Duration::from_mins(1), "");
        assert_eq!(call.texts(), ["question", "goodbye"]);
        let hung_up = call.hung_up.unwrap();
        assert!((28_000..31_000).contains(&hung_up), "{hung_up}: 20 s after the agent's last word at 10 s");
    }

    #[test]
    fn a_person_does_not_speak_into_a_pause_of_the_agent() {
        let mut call = Call::new();
        call.hear(&LOUD, Duration::from_secs(1), "hello")
            .hear(&QUIET, Duration::from_millis(900), "hello")
            .hear(&LOUD, Duration::from_secs(1), "and")
            .hear(&QUIET, Duration::from_secs(2), "and");
        assert_eq!(call.texts(), ["question"]);
        assert!(call.said[0].0 > 2900, "{:?}", call.said);
    }

    #[test]
    fn a_person_repeats_a_line_once_when_asked() {
        let mut call = Call::new();
        call.agent_says("hello").agent_says("Sorry, could you say that again?").agent_says("say that again");
        assert_eq!(call.texts(), ["question", "question", "goodbye"]);
    }

    #[test]
    fn a_person_who_hears_nothing_asks_after_15_s_and_hangs_up_after_15_more() {
        let mut call = Call::new();
        call.hear(&QUIET, Duration::from_mins(1), "");
        assert_eq!(call.said, [(15_000, "hello?".to_owned())]);
        let hung_up = call.hung_up.unwrap();
        assert!((30_000..30_300).contains(&hung_up), "{hung_up}");
    }

    #[test]
    fn a_person_takes_noise_for_nothing_said() {
        let mut call = Call::new();
        call.hear(&LOUD, Duration::from_millis(200), "").hear(&QUIET, Duration::from_secs(5), "");
        assert!(call.said.is_empty());
    }

    #[test]
    fn what_was_being_said_when_the_call_ended_is_still_heard() {
        let mut call = Call::new();
        call.hear(&QUIET, Duration::from_secs(1), "").hear(&LOUD, Duration::from_secs(1), "");
        let heard = call.person.leave(call.now).unwrap();
        assert_eq!((heard.start, heard.end), (Duration::from_secs(1), Duration::from_secs(2)));
        assert!(heard.audio.len() >= 8000);
    }

    #[test]
    fn a_line_is_trimmed_to_its_speech_with_a_little_room() {
        let audio = [[SILENCE; 1000].as_slice(), &[0x90; 500], &[SILENCE; 2000]].concat();
        assert_eq!(trimmed(&audio), &audio[1000 - 320..1499 + 320]);
        assert_eq!(trimmed(&[SILENCE; 100]), [SILENCE; 100]);
    }

    #[test]
    fn the_built_in_scripts_can_be_read() {
        assert!(Callers::new(Speech::connect("http://127.0.0.1:9").unwrap()).is_ok());
    }
}
