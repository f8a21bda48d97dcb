//! The caller presses keys.

use super::*;

fn keys(call: &mut Call, keys: &str) {
    for key in keys.chars() {
        call.feed(Input::Dtmf(key));
        call.advance(300);
    }
}

#[test]
fn digits_are_one_message_two_seconds_after_the_last_one() {
    let mut call = Call::begun();
    keys(&mut call, "4155");
    call.advance(1600);
    assert_eq!(call.story(), [""; 0]);
    call.advance(100);
    assert_eq!(call.story(), ["user starts", "user stops", "user: 4155", "generate 0"]);
}

#[test]
fn the_hash_key_completes_the_digits_at_once() {
    let mut call = Call::begun();
    keys(&mut call, "12#");
    assert_eq!(call.story(), ["user starts", "user stops", "user: 12", "generate 0"]);
}

#[test]
fn the_hash_key_alone_is_a_message() {
    let mut call = Call::begun();
    keys(&mut call, "#");
    assert_eq!(call.story(), ["user starts", "user stops", "user: #", "generate 0"]);
}

#[test]
fn a_key_interrupts_the_agent() {
    let mut call = Call::new(Some("Please key in your number, then press the hash key."));
    call.feed(Input::MediaStarted);
    call.advance(1500);
    call.feed(Input::Dtmf('7'));
    let story = call.story();
    assert!(story.contains(&"clear".to_owned()), "{story:?}");
}

#[test]
fn digits_join_the_words_of_the_turn() {
    let mut call = Call::begun();
    call.transcribes("My number is");
    keys(&mut call, "42#");
    assert_eq!(call.story(), ["user starts", "user stops", "user: My number is 42", "generate 0"]);
}

#[test]
fn characters_that_are_no_keys_are_ignored() {
    let mut call = Call::begun();
    keys(&mut call, "x\u{0}é");
    call.advance(5000);
    assert_eq!(call.story(), [""; 0]);
}
