//! One person on one call: a state machine, stepped every 20 ms with the audio it hears.

use std::time::Duration;

use bytes::Bytes;

use super::{
    part::{Act, Deed, Line, Part, What},
    scripts::{After, REPLY_WAIT},
};
use crate::audio::{self, FRAME_BYTES, SILENCE, Segment, Segmenter};

/// Silence after which the agent counts as finished.
const TURN_SILENCE: Duration = Duration::from_millis(700);
/// Silence of both sides after which a person asks whether anybody is there, and again before they hang up.
const TIME_LIMIT: Duration = Duration::from_secs(15);
/// Time for the agent to hang up after the last act.
const FAREWELL: Duration = Duration::from_secs(20);
/// Speech that stops this soon after an act was interrupted by it, and is no reply.
const REACTION: Duration = Duration::from_millis(500);
/// Time to wait for a reply after such an interruption.
const NO_ANSWER: Duration = Duration::from_secs(5);
/// Time to wait for an agent that a sound has stopped to continue.
const HESITATION: Duration = Duration::from_secs(3);
/// Time from one key to the next.
const KEY: Duration = Duration::from_millis(150);
/// Maximum number of utterances that are being recognised; further ones are ignored.
const RECOGNITION_LIMIT: usize = 16;

/// Speech that a person heard. Times count from the answer of the call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Utterance {
    pub(crate) start: Duration,
    pub(crate) end: Duration,
    /// The audio in mu-law.
    pub(crate) audio: Vec<u8>,
}

/// An action besides sending audio.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Recognise what the agent has said, and pass the text to `Person::recognised`.
    Recognise(Utterance),
    /// The beginning of an act: `text` is the words, the name of the sound, or the keys.
    Do {
        what: What,
        text: String,
        start: Duration,
        end: Duration,
    },
    /// A pressed key.
    Press(char),
    HangUp,
}

/// A person's understanding of an utterance; the later variant prevails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Understanding {
    /// Silence or noise.
    Nothing,
    Words,
    /// The agent asked to hear the last line again.
    AskedAgain,
}

/// The act that is being performed.
enum CurrentAct {
    /// Audio, and the number of bytes sent.
    Sound(Bytes, usize),
    /// Keys, the time of the first, and the number of pressed ones.
    Keys(String, Duration, usize),
}

/// Beginning and end of an act.
#[derive(Clone, Copy, Default)]
struct Span {
    start: Duration,
    end: Duration,
}

/// A person on a call. Times count from the answer of the call.
pub(crate) struct Person {
    part: Part,
    segmenter: Segmenter,
    /// Bytes heard: the clock of the segmenter, which stands still while no stream is connected.
    heard_bytes: usize,
    /// Number of utterances that are being recognised.
    recognising: usize,
    /// The time at which the agent had finished, while a reply is due.
    finished: Option<Duration>,
    /// The best understanding since the person's last turn.
    recognised: Understanding,
    /// The time since which the agent is heard, after the last act.
    speech_since: Option<Duration>,
    /// Number of acts begun.
    acts: usize,
    /// The last act of any kind.
    last: Span,
    /// The last act that the agent replies to: words or keys.
    turn: Span,
    /// The last sound without words.
    noise: Option<Span>,
    /// The last line, and whether it was repeated.
    said: Option<Line>,
    repeated: bool,
    current: Option<CurrentAct>,
    /// Whether to hang up after the current act.
    leaving: bool,
    /// The time since which both sides are silent.
    quiet_since: Duration,
    /// Whether the person has asked for a sign of life, and heard nothing since.
    asked_who: bool,
}

impl Person {
    pub(crate) fn new(part: Part) -> Self {
        Self {
            part,
            segmenter: Segmenter::new(TURN_SILENCE),
            heard_bytes: 0,
            recognising: 0,
            finished: None,
            recognised: Understanding::Nothing,
            speech_since: None,
            acts: 0,
            last: Span::default(),
            turn: Span::default(),
            noise: None,
            said: None,
            repeated: false,
            current: None,
            leaving: false,
            quiet_since: Duration::ZERO,
            asked_who: false,
        }
    }

    /// Advances by 20 ms: hears one frame, and fills the frame to send.
    pub(crate) fn step(&mut self, now: Duration, heard: &[u8], said: &mut [u8; FRAME_BYTES]) -> Vec<Action> {
        let mut actions = Vec::new();
        self.listen(now, heard, &mut actions);
        if self.current.is_none() {
            actions.extend(self.decide(now));
        }
        said.fill(SILENCE);
        self.perform_step(now, said, &mut actions);
        actions
    }

    /// Takes the text of an utterance: empty without words, `None` after a failure of the engine.
    pub(crate) fn recognised(&mut self, text: Option<&str>) {
        self.recognising = self.recognising.saturating_sub(1);
        let recognised = match text {
            Some(text) if text.trim().is_empty() => Understanding::Nothing,
            Some(text) if asks_again(text) => Understanding::AskedAgain,
            // An utterance that could not be recognised counts as words, so that the call goes on.
            Some(_) | None => Understanding::Words,
        };
        self.recognised = self.recognised.max(recognised);
    }

    /// Ends the call; returns the utterance that was being heard.
    pub(crate) fn leave(&mut self, now: Duration) -> Option<Utterance> {
        match self.segmenter.flush()? {
            Segment::Ended { start, end, audio } => Some(self.utterance(now, start, end, audio)),
            Segment::Started { .. } => None,
        }
    }

    fn listen(&mut self, now: Duration, heard: &[u8], actions: &mut Vec<Action>) {
        self.heard_bytes += heard.len();
        let until = now + audio::duration(heard.len());
        for segment in self.segmenter.push(heard) {
            self.quiet_since = now;
            match segment {
                Segment::Started { at } => {
                    self.asked_who = false;
                    self.finished = None;
                    self.speech_since.get_or_insert(self.ago(until, at).max(self.last.end));
                }
                Segment::Ended { start, end, audio } => {
                    let utterance = self.utterance(until, start, end, audio);
                    self.finished = Some(now.max(self.more_until(&utterance)));
                    if self.recognising < RECOGNITION_LIMIT {
                        self.recognising += 1;
                        actions.push(Action::Recognise(utterance));
                    }
                }
            }
        }
        if self.segmenter.current().is_some() && self.segmenter.silent_for().is_zero() {
            self.speech_since.get_or_insert(now);
        }
    }

    /// The time until which the agent may continue, because an act interrupted or stopped it.
    fn more_until(&self, utterance: &Utterance) -> Duration {
        let spoken_into = utterance.start < self.turn.start;
        let reaction = if spoken_into { REACTION } else { Duration::ZERO };
        if utterance.end <= self.turn.end + reaction {
            return self.turn.end + NO_ANSWER;
        }
        match self.noise {
            Some(noise) if (noise.start..noise.end + REACTION).contains(&utterance.end) => {
                noise.end + HESITATION
            }
            _ => Duration::ZERO,
        }
    }

    fn utterance(&self, now: Duration, start: Duration, end: Duration, audio: Vec<u8>) -> Utterance {
        Utterance { start: self.ago(now, start), end: self.ago(now, end), audio }
    }

    /// Converts a time of the segmenter, which counts from the first byte heard.
    fn ago(&self, now: Duration, at: Duration) -> Duration {
        now.saturating_sub(audio::duration(self.heard_bytes).saturating_sub(at))
    }

    fn decide(&mut self, now: Duration) -> Option<Action> {
        if self.leaving {
            return Some(Action::HangUp);
        }
        let silent = now.saturating_sub(self.quiet_since);
        let Some(Act { after, wait, .. }) = self.part.acts.get(self.acts) else {
            let again = self.reply(now, None);
            return again.or_else(|| (silent >= FAREWELL).then_some(Action::HangUp));
        };
        let wait = *wait;
        let due = match after {
            After::Reply => {
                let reply = self.reply(now, Some(wait));
                return reply.or_else(|| self.stop_waiting(now, silent));
            }
            After::Speech => match self.speech_since {
                Some(since) => since + wait,
                None => return self.stop_waiting(now, silent),
            },
            After::Act => self.last.end + wait,
            After::Start => wait,
        };
        if due <= now { self.perform(now) } else { None }
    }

    /// Replies if the agent has finished: with the last line again if the agent asked for it, else with the next act if
    /// that waits for a reply.
    fn reply(&mut self, now: Duration, wait: Option<Duration>) -> Option<Action> {
        let finished = self.finished?;
        if self.recognising > 0 || finished + wait.unwrap_or(REPLY_WAIT) > now {
            return None;
        }
        self.finished = None;
        match std::mem::replace(&mut self.recognised, Understanding::Nothing) {
            // Noise is no reason to reply.
            Understanding::Nothing => None,
            Understanding::AskedAgain if !self.repeated && self.said.is_some() => {
                self.repeated = true;
                self.said.clone().map(|line| self.sound(now, line))
            }
            Understanding::Words | Understanding::AskedAgain => {
                wait?;
                self.perform(now)
            }
        }
    }

    fn perform(&mut self, now: Duration) -> Option<Action> {
        let act = self.part.acts.get(self.acts)?.clone();
        self.acts += 1;
        self.leaving = act.then_hang_up;
        Some(match act.deed {
            Deed::Sound(line) => {
                if line.what == What::Say {
                    self.said = Some(line.clone());
                    self.repeated = false;
                }
                self.sound(now, line)
            }
            Deed::Keys(keys) => {
                let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
                self.current = Some(CurrentAct::Keys(keys.clone(), now, 0));
                self.begin(now, KEY.saturating_mul(count), What::Keys, keys)
            }
            Deed::HangUp => Action::HangUp,
        })
    }

    fn sound(&mut self, now: Duration, line: Line) -> Action {
        let length = audio::duration(line.audio.len());
        self.current = Some(CurrentAct::Sound(line.audio, 0));
        self.begin(now, length, line.what, line.text)
    }

    fn begin(&mut self, now: Duration, length: Duration, what: What, text: String) -> Action {
        self.last = Span { start: now, end: now + length };
        match what {
            What::Sound => self.noise = Some(self.last),
            What::Say | What::Keys => {
                self.turn = self.last;
                self.finished = None;
                self.recognised = Understanding::Nothing;
            }
        }
        Action::Do { what, text, start: now, end: self.last.end }
    }

    /// A person who waits and hears nothing asks once, and then hangs up.
    fn stop_waiting(&mut self, now: Duration, silent: Duration) -> Option<Action> {
        if self.segmenter.current().is_some() || self.recognising > 0 || silent < TIME_LIMIT {
            return None;
        }
        if std::mem::replace(&mut self.asked_who, true) {
            return Some(Action::HangUp);
        }
        self.quiet_since = now;
        self.part.when_nobody_speaks.clone().map(|line| self.sound(now, line))
    }

    /// Performs another 20 ms of the current act.
    fn perform_step(&mut self, now: Duration, said: &mut [u8; FRAME_BYTES], actions: &mut Vec<Action>) {
        let done = match &mut self.current {
            None => return,
            Some(CurrentAct::Sound(audio, heard)) => {
                let rest = &audio[*heard..];
                let length = rest.len().min(FRAME_BYTES);
                said[..length].copy_from_slice(&rest[..length]);
                *heard += length;
                *heard == audio.len()
            }
            Some(CurrentAct::Keys(keys, since, pressed)) => {
                let due = |n: usize| *since + KEY.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX));
                if let Some(key) = keys.chars().nth(*pressed).filter(|_| due(*pressed) <= now) {
                    actions.push(Action::Press(key));
                    *pressed += 1;
                }
                due(keys.len()) <= now
            }
        };
        self.quiet_since = now;
        if done {
            self.current = None;
            self.speech_since = None;
        }
    }
}

/// Whether a text asks to hear the last words again.
fn asks_again(text: &str) -> bool {
    let text = text.to_lowercase();
    ["say that again", "say it again", "repeat", "sorry", "pardon", "didn't catch"]
        .iter()
        .any(|p| text.contains(p))
}
