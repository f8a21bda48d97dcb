//! One person in virtual time.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    directory::SCRIPTS,
    part::Part,
    person::{Action, Person},
    scripts::Script,
};
use crate::audio::{FRAME_BYTES, SILENCE};

const FRAME: Duration = Duration::from_millis(20);
/// Loud in mu-law: a square wave as far as the ears are concerned.
const LOUD: [u8; FRAME_BYTES] = [0x90; FRAME_BYTES];
const QUIET: [u8; FRAME_BYTES] = [SILENCE; FRAME_BYTES];

/// A call in virtual time: what was done, in whole milliseconds.
struct Call {
    person: Person,
    now: Duration,
    /// Beginning, end and text.
    done: Vec<(u128, u128, String)>,
    keys: Vec<(u128, char)>,
    hung_up: Option<u128>,
    loud_frames: usize,
}

impl Call {
    /// With somebody who does this; whatever they say lasts 1000 ms.
    fn with(acts: &Value) -> Self {
        let script = Script::read(json!({ "acts": acts, "when_nobody_speaks": "hello?" })).unwrap();
        Self::of(&script)
    }

    fn of(script: &Script) -> Self {
        let spoken = script.texts().map(|text| (text, Bytes::from_static(&[1; 8000]))).collect();
        let part = Part::new(script, &spoken);
        Self {
            person: Person::new(part),
            now: Duration::ZERO,
            done: vec![],
            keys: vec![],
            hung_up: None,
            loud_frames: 0,
        }
    }

    /// With the person whom most tests need.
    fn new() -> Self {
        Self::with(&json!(["question", "goodbye"]))
    }

    /// So much of one sound; whatever is recognised meanwhile says `text`.
    fn hear(&mut self, frame: &[u8], ms: u64, text: &str) -> &mut Self {
        let until = self.now + Duration::from_millis(ms);
        while self.now < until && self.hung_up.is_none() {
            let mut said = [0; FRAME_BYTES];
            for action in self.person.step(self.now, frame, &mut said) {
                match action {
                    Action::Recognise(_) => self.person.understood(Some(text)),
                    Action::Do { text, start, end, .. } => {
                        self.done.push((start.as_millis(), end.as_millis(), text));
                    }
                    Action::Press(key) => self.keys.push((self.now.as_millis(), key)),
                    Action::HangUp => self.hung_up = Some(self.now.as_millis()),
                }
            }
            self.loud_frames += usize::from(said != QUIET);
            self.now += FRAME;
        }
        self
    }

    fn talk(&mut self, ms: u64) -> &mut Self {
        self.hear(&LOUD, ms, "words")
    }

    fn silence(&mut self, ms: u64) -> &mut Self {
        self.hear(&QUIET, ms, "words")
    }

    /// Two seconds of speech, and as much silence.
    fn agent_says(&mut self, text: &str) -> &mut Self {
        self.hear(&LOUD, 2000, text).hear(&QUIET, 3000, text)
    }

    fn texts(&self) -> Vec<&str> {
        self.done.iter().map(|(_, _, text)| text.as_str()).collect()
    }

    /// When each thing was begun.
    fn times(&self) -> Vec<(u128, &str)> {
        self.done.iter().map(|(at, _, text)| (*at, text.as_str())).collect()
    }
}

#[test]
fn a_person_answers_when_the_agent_has_finished() {
    let mut call = Call::new();
    call.agent_says("hello, this is the bakery");
    // 2000 ms of speech, 700 ms to be sure that it is over, 500 ms of a human pause, less one frame.
    assert_eq!(call.done, [(3180, 4180, "question".to_owned())]);
    assert_eq!(call.loud_frames, 50);
}

#[test]
fn a_person_says_goodbye_then_waits_20_s_to_be_hung_up_on() {
    let mut call = Call::new();
    call.agent_says("hello").agent_says("at six").agent_says("goodbye");
    assert_eq!(call.texts(), ["question", "goodbye"]);
    call.silence(60_000);
    assert_eq!(call.texts(), ["question", "goodbye"]);
    let hung_up = call.hung_up.unwrap();
    assert!((32_000..33_000).contains(&hung_up), "{hung_up}: 20 s after the agent's last word was over");
}

#[test]
fn a_person_does_not_speak_into_a_pause_of_the_agent() {
    let mut call = Call::new();
    call.talk(1000).silence(900).talk(1000).silence(2000);
    assert_eq!(call.times(), [(4080, "question")]);
}

#[test]
fn a_person_repeats_a_line_once_when_asked() {
    let mut call = Call::new();
    call.agent_says("hello").agent_says("Sorry, could you say that again?").agent_says("say that again");
    assert_eq!(call.texts(), ["question", "question", "goodbye"]);
    call.agent_says("pardon?");
    assert_eq!(call.texts()[3..], ["goodbye"], "also the last one");
}

#[test]
fn a_person_who_hears_nothing_asks_after_15_s_and_hangs_up_after_15_more() {
    let mut call = Call::new();
    call.silence(60_000);
    assert_eq!(call.times(), [(15_000, "hello?")]);
    let hung_up = call.hung_up.unwrap();
    assert!((30_000..31_300).contains(&hung_up), "{hung_up}");
}

#[test]
fn a_person_with_nothing_to_say_then_hangs_up_without_a_word() {
    let mut call = Call::of(&Script::read(json!({ "acts": ["question"] })).unwrap());
    call.silence(60_000);
    assert_eq!((call.texts(), call.hung_up), (vec![], Some(30_000)));
}

#[test]
fn a_person_takes_noise_for_nothing_said() {
    let mut call = Call::new();
    call.hear(&LOUD, 200, "").hear(&QUIET, 5000, "");
    assert!(call.done.is_empty());
}

#[test]
fn what_was_being_said_when_the_call_ended_is_still_heard() {
    let mut call = Call::new();
    call.hear(&QUIET, 1000, "").hear(&LOUD, 1000, "");
    let heard = call.person.leave(call.now).unwrap();
    assert_eq!((heard.start, heard.end), (Duration::from_secs(1), Duration::from_secs(2)));
    assert!(heard.audio.len() >= 8000);
}

#[test]
fn an_act_after_the_start_needs_nobody_to_speak() {
    let mut call = Call::with(&json!([{ "after": "start", "wait_ms": 500, "say": "this is Maria" }]));
    call.silence(3000);
    assert_eq!(call.times(), [(500, "this is Maria")]);
}

#[test]
fn an_act_after_an_act_follows_its_end() {
    let mut call = Call::with(&json!([
        { "after": "start", "say": "leave a message" },
        { "after": "act", "wait_ms": 400, "sound": "beep" },
        { "after": "act", "keys": "1" },
    ]));
    call.talk(3000);
    assert_eq!(call.times(), [(0, "leave a message"), (1400, "beep"), (1900, "1")]);
}

#[test]
fn an_act_after_speech_falls_into_it() {
    let mut call = Call::with(&json!([{ "after": "speech", "wait_ms": 800, "say": "excuse me" }]));
    call.silence(1000).talk(3000);
    assert_eq!(call.times(), [(1800, "excuse me")]);
}

#[test]
fn speech_is_counted_anew_after_every_act_and_from_its_end_if_it_goes_on() {
    let act = json!({ "after": "speech", "wait_ms": 300, "say": "stop" });
    let mut call = Call::with(&json!([act, act, act]));
    // The second one begins 300 ms after the end of the first; the agent falls silent while it lasts.
    call.talk(2000).silence(4000).talk(1000);
    assert_eq!(call.times(), [(300, "stop"), (1600, "stop"), (6300, "stop")]);
}

#[test]
fn keys_are_pressed_150_ms_apart() {
    let mut call = Call::with(&json!([{ "after": "start", "wait_ms": 1000, "keys": "4#2" }]));
    call.silence(3000);
    assert_eq!(call.keys, [(1000, '4'), (1160, '#'), (1300, '2')], "in steps of 20 ms");
    assert_eq!(call.done, [(1000, 1450, "4#2".to_owned())]);
    assert_eq!(call.loud_frames, 0);
}

#[test]
fn what_is_said_can_be_cut_off() {
    let mut call = Call::with(&json!([{ "after": "start", "say": "I would like", "cut_ms": 400 }]));
    call.silence(2000);
    assert_eq!(call.done, [(0, 400, "I would like".to_owned())]);
    assert_eq!(call.loud_frames, 20);
}

#[test]
fn a_person_can_hang_up_into_what_the_agent_says() {
    let mut call = Call::with(&json!([{ "after": "speech", "wait_ms": 700, "hang_up": true }]));
    call.silence(500).talk(3000);
    assert_eq!(call.hung_up, Some(1200));
}

#[test]
fn a_person_can_hang_up_at_the_end_of_a_word() {
    let act = json!({ "after": "start", "say": "forget it", "cut_ms": 500, "then_hang_up": true });
    let mut call = Call::with(&json!([act, "never said"]));
    call.silence(3000);
    assert_eq!((call.texts(), call.hung_up), (vec!["forget it"], Some(500)));
}

#[test]
fn what_a_person_speaks_into_is_no_reply() {
    let mut call = Call::with(&json!([{ "after": "speech", "wait_ms": 500, "say": "wait" }, "thanks"]));
    // The agent stops soon, takes a second to think, and answers.
    call.talk(800).silence(2500).talk(1000).silence(2000);
    assert_eq!(call.times(), [(500, "wait"), (5480, "thanks")]);
    // A word in between ends before the person has finished, and is none either.
    let mut call = Call::with(&json!([{ "after": "start", "say": "so" }, "thanks"]));
    call.silence(300).talk(200).silence(2000).talk(1000).silence(2000);
    assert_eq!(call.times(), [(0, "so"), (4680, "thanks")]);
}

#[test]
fn a_person_takes_what_they_spoke_into_for_a_reply_if_there_is_no_other() {
    let mut call = Call::with(&json!([{ "after": "speech", "wait_ms": 500, "say": "mm-hmm" }, "thanks"]));
    call.talk(1800).silence(8000);
    assert_eq!(
        call.times(),
        [(500, "mm-hmm"), (7000, "thanks")],
        "five seconds after the person's last word"
    );
}

#[test]
fn what_keys_are_pressed_into_is_no_reply() {
    let mut call = Call::with(&json!([{ "after": "speech", "wait_ms": 500, "keys": "1#" }, "thanks"]));
    call.talk(820).silence(2500).talk(1000).silence(2000);
    assert_eq!(call.times(), [(500, "1#"), (5500, "thanks")]);
}

#[test]
fn an_agent_whom_a_cough_stops_has_three_seconds_to_go_on() {
    let cough = json!([{ "after": "speech", "wait_ms": 500, "sound": "cough" }, "question"]);
    let mut call = Call::with(&cough);
    call.talk(740).silence(1500).talk(1000).silence(2000);
    assert_eq!(call.times(), [(500, "cough"), (4420, "question")], "it went on");
    let mut call = Call::with(&cough);
    call.talk(740).silence(6000);
    assert_eq!(call.times(), [(500, "cough"), (4340, "question")], "it did not");
    let mut call = Call::with(&cough);
    call.talk(3000).silence(2000);
    assert_eq!(call.times(), [(500, "cough"), (4180, "question")], "it did not care");
}

#[test]
fn a_person_who_waits_for_a_time_does_not_lose_patience() {
    let mut call = Call::with(&json!([{ "after": "start", "wait_ms": 60_000, "hang_up": true }]));
    call.silence(90_000);
    assert_eq!((call.texts(), call.hung_up), (vec![], Some(60_000)));
}

#[test]
fn a_person_who_waits_for_speech_that_does_not_come_loses_patience() {
    let mut call = Call::with(&json!([{ "after": "speech", "wait_ms": 300, "sound": "cough" }]));
    call.silence(60_000);
    assert_eq!(call.texts(), ["hello?"]);
    assert!(call.hung_up.is_some());
}

/// The built-in person at this number.
fn built_in(number: &str) -> Script {
    let mut scripts: HashMap<String, Value> = serde_json::from_str(SCRIPTS).unwrap();
    Script::read(scripts.remove(number).unwrap()).unwrap()
}

#[test]
fn the_machine_greets_beeps_records_and_hangs_up() {
    let script = built_in("+14155550153");
    assert!(script.machine);
    let mut call = Call::of(&script);
    call.silence(10_000).talk(10_000).silence(60_000);
    assert!(call.done[0].2.ends_with("leave a message after the tone."));
    assert_eq!(call.done[1..], [(1900, 2400, "beep".to_owned())]);
    assert_eq!(call.hung_up, Some(32_400));
}

#[test]
fn the_difficult_people_do_what_their_numbers_say() {
    let mut hangs_up = Call::of(&built_in("+14155550154"));
    hangs_up.silence(400).talk(3000);
    assert_eq!((hangs_up.texts(), hangs_up.hung_up), (vec![], Some(1100)));
    let mut silent = Call::of(&built_in("+14155550155"));
    silent.talk(3000).silence(20_000).talk(3000).silence(60_000);
    assert_eq!((silent.texts(), silent.hung_up), (vec![], Some(60_000)));
    let mut interrupts = Call::of(&built_in("+14155550156"));
    interrupts.talk(1800).silence(3000).talk(2000).silence(2000);
    assert_eq!((interrupts.done.len(), interrupts.done[0].0), (2, 1500));
    let mut coughs = Call::of(&built_in("+14155550157"));
    coughs.talk(3000).silence(3000).talk(2000).silence(2000);
    assert_eq!((coughs.done.len(), coughs.times()[0]), (3, (1000, "cough")));
}
