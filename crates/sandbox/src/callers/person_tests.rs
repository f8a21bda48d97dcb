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
/// A square wave in mu-law, loud enough for speech.
const LOUD: [u8; FRAME_BYTES] = [0x90; FRAME_BYTES];
const QUIET: [u8; FRAME_BYTES] = [SILENCE; FRAME_BYTES];

/// A call in virtual time, with its acts in whole milliseconds.
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
    /// A call with these acts; every line lasts 1000 ms.
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

    /// A call with the person of most tests.
    fn new() -> Self {
        Self::with(&json!(["question", "goodbye"]))
    }

    /// Hears `ms` milliseconds of one frame; every recognition meanwhile gives `text`.
    fn hear(&mut self, frame: &[u8], ms: u64, text: &str) -> &mut Self {
        let until = self.now + Duration::from_millis(ms);
        while self.now < until && self.hung_up.is_none() {
            let mut said = [0; FRAME_BYTES];
            for action in self.person.step(self.now, frame, &mut said) {
                match action {
                    Action::Recognise(_) => self.person.recognised(Some(text)),
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

    /// The times at which acts began.
    fn times(&self) -> Vec<(u128, &str)> {
        self.done.iter().map(|(at, _, text)| (*at, text.as_str())).collect()
    }
}

#[test]
fn a_person_answers_when_the_agent_has_finished() {
    let mut call = Call::new();
    call.agent_says("hello, this is the bakery");
    // 2000 ms of speech, 700 ms of silence to prove its end, 500 ms of a human pause, less one frame.
    assert_eq!(call.done, [(3180, 4180, "question".to_owned())]);
    assert_eq!(call.loud_frames, 50);
}

#[test]
fn a_person_says_goodbye_and_waits_20_s_for_the_agent_to_hang_up() {
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
fn a_person_who_hears_nothing_asks_after_15_s_and_then_hangs_up() {
    let mut call = Call::new();
    call.silence(60_000);
    assert_eq!(call.times(), [(15_000, "hello?")]);
    let hung_up = call.hung_up.unwrap();
    assert!((30_000..31_300).contains(&hung_up), "{hung_up}");
}

#[test]
fn a_person_without_such_a_line_hangs_up_silently() {
    let mut call = Call::of(&Script::read(json!({ "acts": ["question"] })).unwrap());
    call.silence(60_000);
    assert_eq!((call.texts(), call.hung_up), (vec![], Some(30_000)));
}

#[test]
fn noise_is_no_reply() {
    let mut call = Call::new();
    call.hear(&LOUD, 200, "").hear(&QUIET, 5000, "");
    assert!(call.done.is_empty());
}

#[test]
fn speech_that_the_end_of_the_call_cuts_is_returned() {
    let mut call = Call::new();
    call.hear(&QUIET, 1000, "").hear(&LOUD, 1000, "");
    let heard = call.person.leave(call.now).unwrap();
    assert_eq!((heard.start, heard.end), (Duration::from_secs(1), Duration::from_secs(2)));
    assert!(heard.audio.len() >= 8000);
}

#[test]
fn an_act_after_the_start_waits_for_no_speech() {
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
fn an_act_after_speech_interrupts_it() {
    let mut call = Call::with(&json!([{ "after": "speech", "wait_ms": 800, "say": "excuse me" }]));
    call.silence(1000).talk(3000);
    assert_eq!(call.times(), [(1800, "excuse me")]);
}

#[test]
fn speech_counts_anew_after_every_act() {
    let act = json!({ "after": "speech", "wait_ms": 300, "say": "stop" });
    let mut call = Call::with(&json!([act, act, act]));
    // The second act begins 300 ms after the end of the first; the agent falls silent meanwhile.
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
fn words_can_be_cut_off() {
    let mut call = Call::with(&json!([{ "after": "start", "say": "I would like", "cut_ms": 400 }]));
    call.silence(2000);
    assert_eq!(call.done, [(0, 400, "I would like".to_owned())]);
    assert_eq!(call.loud_frames, 20);
}

#[test]
fn a_person_can_hang_up_while_the_agent_speaks() {
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
fn speech_that_a_person_interrupts_is_no_reply() {
    let mut call = Call::with(&json!([{ "after": "speech", "wait_ms": 500, "say": "wait" }, "thanks"]));
    // The agent stops soon, thinks for a second, and answers.
    call.talk(800).silence(2500).talk(1000).silence(2000);
    assert_eq!(call.times(), [(500, "wait"), (5480, "thanks")]);
    // A word in between ends before the person has finished, so it is no reply either.
    let mut call = Call::with(&json!([{ "after": "start", "say": "so" }, "thanks"]));
    call.silence(300).talk(200).silence(2000).talk(1000).silence(2000);
    assert_eq!(call.times(), [(0, "so"), (4680, "thanks")]);
}

#[test]
fn interrupted_speech_counts_as_a_reply_if_there_is_no_other() {
    let mut call = Call::with(&json!([{ "after": "speech", "wait_ms": 500, "say": "mm-hmm" }, "thanks"]));
    call.talk(1800).silence(8000);
    assert_eq!(
        call.times(),
        [(500, "mm-hmm"), (7000, "thanks")],
        "five seconds after the person's last word"
    );
}

#[test]
fn speech_that_keys_interrupt_is_no_reply() {
    let mut call = Call::with(&json!([{ "after": "speech", "wait_ms": 500, "keys": "1#" }, "thanks"]));
    call.talk(820).silence(2500).talk(1000).silence(2000);
    assert_eq!(call.times(), [(500, "1#"), (5500, "thanks")]);
}

#[test]
fn an_agent_that_a_cough_stops_has_three_seconds_to_continue() {
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
fn a_person_who_waits_for_a_time_does_not_hang_up() {
    let mut call = Call::with(&json!([{ "after": "start", "wait_ms": 60_000, "hang_up": true }]));
    call.silence(90_000);
    assert_eq!((call.texts(), call.hung_up), (vec![], Some(60_000)));
}

#[test]
fn a_person_who_waits_in_vain_for_speech_hangs_up() {
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
fn the_difficult_people_act_as_documented() {
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
