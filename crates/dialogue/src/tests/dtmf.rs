//! The caller presses keys.

use super::*;

fn keys(call: &mut Call, keys: &str) {
    for key in keys.chars() {
        call.feed(Input::Dtmf(key));
        call.advance(300);
    }
}

#[test]
fn digits_are_one_message_two_seconds_after_the_last() {
    let mut call = Call::begun();
    keys(&mut call, "4155");
    call.advance(1600);
    assert_eq!(call.story(), [""; 0]);
    call.advance(100);
    assert_eq!(call.story(), ["user starts", "user stops", "user: 4155", "ask 0"]);
}

#[test]
fn the_hash_key_completes_them_at_once_and_is_not_one_of_them() {
    let mut call = Call::begun();
    keys(&mut call, "12#");
    assert_eq!(call.story(), ["user starts", "user stops", "user: 12", "ask 0"]);
    keys(&mut call, "#");
    assert_eq!(call.story(), [""; 0], "without digits it completes nothing");
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
fn digits_join_what_is_being_said() {
    let mut call = Call::begun();
    call.hears("My number is");
    keys(&mut call, "42#");
    assert_eq!(call.story(), ["user starts", "user stops", "user: My number is 42", "ask 0"]);
}

#[test]
fn what_is_no_key_is_ignored() {
    let mut call = Call::begun();
    keys(&mut call, "x\u{0}é");
    call.advance(5000);
    assert_eq!(call.story(), [""; 0]);
}
