//! One person on one call: a state machine stepped every 20 ms with what is heard.

use std::time::Duration;

use bytes::Bytes;

use super::{
    part::{Act, Deed, Line, Part, What},
    scripts::{After, REPLY_WAIT},
};
use crate::audio::{self, FRAME_BYTES, SILENCE, Segment, Segmenter};

/// Silence after which a person takes the other side to have finished.
const TURN_SILENCE: Duration = Duration::from_millis(700);
/// Silence of both sides after which a person asks whether anybody is there, and after as much again hangs up.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a person with nothing left to do waits for the other side to hang up.
const FAREWELL: Duration = Duration::from_secs(20);
/// Somebody who stops this soon after a person made themselves heard was interrupted, and has not answered.
const REACTION: Duration = Duration::from_millis(500);
/// How long a person then waits for an answer.
const NO_ANSWER: Duration = Duration::from_secs(5);
/// How long a person waits for somebody whom they stopped by a sound to go on.
const HESITATION: Duration = Duration::from_secs(3);
/// From one key to the next.
const KEY: Duration = Duration::from_millis(150);
/// Utterances being recognised at a time; more than that are not understood.
const HEARING_LIMIT: usize = 16;

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
    /// Begins to do this: `text` is what is said, the name of the sound, or the keys.
    Do { what: What, text: String, start: Duration, end: Duration },
    /// Presses a key.
    Press(char),
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

/// What is being done.
enum Doing {
    /// Sound, and how much of it has been heard.
    Sound(Bytes, usize),
    /// Keys, since when, and how many are pressed.
    Keys(String, Duration, usize),
}

/// From when to when something was done.
#[derive(Clone, Copy, Default)]
struct Span {
    start: Duration,
    end: Duration,
}

/// A person on a call. Times are since the call was answered.
pub(crate) struct Person {
    part: Part,
    ears: Segmenter,
    /// Bytes heard in all: the ears' own clock, which stands still while nothing is connected.
    heard_bytes: usize,
    /// What was heard and not yet recognised.
    recognising: usize,
    /// When the other side had finished, and a reply is due.
    finished: Option<Duration>,
    /// What was recognised since the person's last turn.
    understood: Understood,
    /// Since when the other side is heard, after the last act.
    speech_since: Option<Duration>,
    /// Acts begun.
    acts: usize,
    /// The last act, whatever it was.
    last: Span,
    /// The last one that the other side answers to: words or keys.
    turn: Span,
    /// The last sound without words.
    noise: Option<Span>,
    /// What was said last, and whether that was a repetition.
    said: Option<Line>,
    repeated: bool,
    doing: Option<Doing>,
    /// Hangs up when that is done.
    leaving: bool,
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
            finished: None,
            understood: Understood::Nothing,
            speech_since: None,
            acts: 0,
            last: Span::default(),
            turn: Span::default(),
            noise: None,
            said: None,
            repeated: false,
            doing: None,
            leaving: false,
            quiet_since: Duration::ZERO,
            asked_who: false,
        }
    }

    /// Lives through 20 ms: hears one frame and fills another with what is said meanwhile.
    pub(crate) fn step(&mut self, now: Duration, heard: &[u8], said: &mut [u8; FRAME_BYTES]) -> Vec<Action> {
        let mut actions = Vec::new();
        self.listen(now, heard, &mut actions);
        if self.doing.is_none() {
            actions.extend(self.decide(now));
        }
        said.fill(SILENCE);
        self.go_on(now, said, &mut actions);
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
        let until = now + audio::duration(heard.len());
        for segment in self.ears.push(heard) {
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
                    if self.recognising < HEARING_LIMIT {
                        self.recognising += 1;
                        actions.push(Action::Recognise(utterance));
                    }
                }
            }
        }
        if self.ears.current().is_some() && self.ears.silent_for().is_zero() {
            self.speech_since.get_or_insert(now);
        }
    }

    /// Until when the other side may say more: it was interrupted, or a sound stopped it.
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

    /// Converts a time of the ears, which is since the first byte they heard.
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
                return reply.or_else(|| self.lose_patience(now, silent));
            }
            After::Speech => match self.speech_since {
                Some(since) => since + wait,
                None => return self.lose_patience(now, silent),
            },
            After::Act => self.last.end + wait,
            After::Start => wait,
        };
        if due <= now { self.perform(now) } else { None }
    }

    /// Answers, if the other side has finished: with the last line once more if that was asked for, else with
    /// the next act, if there is one that waits for this.
    fn reply(&mut self, now: Duration, wait: Option<Duration>) -> Option<Action> {
        let finished = self.finished?;
        if self.recognising > 0 || finished + wait.unwrap_or(REPLY_WAIT) > now {
            return None;
        }
        self.finished = None;
        match std::mem::replace(&mut self.understood, Understood::Nothing) {
            // Noise is no reason to speak.
            Understood::Nothing => None,
            Understood::AskedAgain if !self.repeated && self.said.is_some() => {
                self.repeated = true;
                self.said.clone().map(|line| self.sound(now, line))
            }
            Understood::Words | Understood::AskedAgain => {
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
                self.doing = Some(Doing::Keys(keys.clone(), now, 0));
                self.begin(now, KEY.saturating_mul(count), What::Keys, keys)
            }
            Deed::HangUp => Action::HangUp,
        })
    }

    fn sound(&mut self, now: Duration, line: Line) -> Action {
        let length = audio::duration(line.audio.len());
        self.doing = Some(Doing::Sound(line.audio, 0));
        self.begin(now, length, line.what, line.text)
    }

    fn begin(&mut self, now: Duration, length: Duration, what: What, text: String) -> Action {
        self.last = Span { start: now, end: now + length };
        match what {
            What::Sound => self.noise = Some(self.last),
            What::Say | What::Keys => {
                self.turn = self.last;
                self.finished = None;
                self.understood = Understood::Nothing;
            }
        }
        Action::Do { what, text, start: now, end: self.last.end }
    }

    /// Somebody who waits for the other side, and hears nothing, asks once and then hangs up.
    fn lose_patience(&mut self, now: Duration, silent: Duration) -> Option<Action> {
        if self.ears.current().is_some() || self.recognising > 0 || silent < PATIENCE {
            return None;
        }
        if std::mem::replace(&mut self.asked_who, true) {
            return Some(Action::HangUp);
        }
        self.quiet_since = now;
        self.part.when_nobody_speaks.clone().map(|line| self.sound(now, line))
    }

    /// Another 20 ms of what is being done.
    fn go_on(&mut self, now: Duration, said: &mut [u8; FRAME_BYTES], actions: &mut Vec<Action>) {
        let done = match &mut self.doing {
            None => return,
            Some(Doing::Sound(audio, heard)) => {
                let rest = &audio[*heard..];
                let length = rest.len().min(FRAME_BYTES);
                said[..length].copy_from_slice(&rest[..length]);
                *heard += length;
                *heard == audio.len()
            }
            Some(Doing::Keys(keys, since, pressed)) => {
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
            self.doing = None;
            self.speech_since = None;
        }
    }
}

/// Whether somebody asks to hear the last words again.
fn asks_again(text: &str) -> bool {
    let text = text.to_lowercase();
    ["say that again", "say it again", "repeat", "sorry", "pardon", "didn't catch"]
        .iter()
        .any(|p| text.contains(p))
}
