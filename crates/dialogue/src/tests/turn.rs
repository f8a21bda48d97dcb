//! The user's turn and its end.

use super::*;

#[test]
fn the_greeting_is_spoken_as_soon_as_media_flows() {
    let mut call = Call::new(Some("Hello, this is Ada. Do you have any questions?"));
    assert_eq!(call.engine.deadline(), None);
    call.feed(Input::MediaStarted);
    call.advance(10_000);
    assert_eq!(
        call.story(),
        [
            "synthesize 0: Hello, this is Ada.",
            "synthesize 1: Do you have any questions?",
            "agent starts",
            "agent stops",
            "agent: Hello, this is Ada. Do you have any questions?",
        ]
    );
    assert_eq!(call.history(), ["agent: Hello, this is Ada. Do you have any questions?"]);
}

#[test]
fn without_a_greeting_the_agent_waits() {
    let mut call = Call::begun();
    call.advance(14_000);
    assert_eq!(call.story(), [""; 0]);
    assert_eq!(call.history(), [""; 0]);
}

#[test]
fn a_question_is_replied_to() {
    let mut call = Call::begun();
    call.feed(Input::SpeechStarted);
    call.advance(300);
    call.transcribes_interim("what time");
    call.advance(300);
    call.transcribes("What time do you close?");
    call.advance(100);
    call.feed(Input::TurnEnded);
    call.answers(0, "We close at six. Can I help you?");
    call.advance(5000);
    assert_eq!(
        call.story(),
        [
            "user starts",
            "user stops",
            "user: What time do you close?",
            "generate 0",
            "synthesize 0: We close at six.",
            "generated: We close at six. Can I help you?",
            "synthesize 1: Can I help you?",
            "agent starts",
            "agent stops",
            "agent: We close at six. Can I help you?",
        ]
    );
    assert_eq!(call.history(), ["user: What time do you close?", "agent: We close at six. Can I help you?"]);
}

#[test]
fn messages_have_the_times_of_their_words() {
    let mut call = Call::begun();
    call.advance(1000);
    call.feed(Input::SpeechStarted);
    call.advance(1000);
    call.feed(Input::Transcript { text: "Hello?".into(), is_final: true, spoken_until: Some(ms(1800)) });
    call.feed(Input::TurnEnded);
    call.answers(0, "Good morning.");
    call.advance(5000);
    // The agent's 13 characters play for 650 ms.
    assert_eq!(call.messages(), [(2000, 1000, 1800), (2750, 2100, 2750)]);
}

#[test]
fn a_turn_without_words_is_ignored() {
    let mut call = Call::begun();
    call.feed(Input::TurnEnded);
    call.feed(Input::SpeechStarted);
    call.feed(Input::SpeechStarted);
    call.feed(Input::Transcript { text: "  ".into(), is_final: true, spoken_until: None });
    call.feed(Input::TurnEnded);
    call.feed(Input::TurnEnded);
    call.advance(10_000);
    assert_eq!(call.story(), ["user starts", "user stops"]);
}

#[test]
fn a_turn_without_a_final_ends_three_seconds_after_its_last_words() {
    let mut call = Call::begun();
    call.transcribes_interim("five five");
    call.advance(2000);
    call.transcribes_interim("five five five");
    call.advance(2999);
    assert_eq!(call.story(), ["user starts"]);
    call.advance(1);
    assert_eq!(call.story()[..3], ["user stops", "user: five five five", "generate 0"]);
}

#[test]
fn an_unfinished_sentence_waits_half_a_second_longer() {
    let mut call = Call::begun();
    call.says("I would like two cakes and");
    call.advance(499);
    assert_eq!(call.story(), ["user starts"]);
    call.transcribes("a bread.");
    call.advance(499);
    assert_eq!(call.story(), [""; 0]);
    call.feed(Input::TurnEnded);
    assert_eq!(call.story(), ["user stops", "user: I would like two cakes and a bread.", "generate 0"]);
    let mut call = Call::begun();
    call.says("My number is 415");
    call.advance(500);
    assert_eq!(call.story(), ["user starts", "user stops", "user: My number is 415", "generate 0"]);
}

#[test]
fn interim_words_count_when_the_turn_ends_without_a_final() {
    let mut call = Call::begun();
    call.transcribes("Hello.");
    call.transcribes_interim("is anybody there");
    call.feed(Input::TurnEnded);
    assert_eq!(call.story()[2..], ["user: Hello. is anybody there", "generate 0"]);
    call.transcribes("Is anybody there?");
    call.feed(Input::TurnEnded);
    assert_eq!(call.story(), [""; 0], "their final adds no words");
    assert_eq!(call.history(), ["user: Hello. is anybody there"]);
}

#[test]
fn a_final_that_corrects_its_interim_starts_another_generation() {
    let mut call = Call::begun();
    call.transcribes_interim("two kicks");
    call.feed(Input::TurnEnded);
    call.writes(0, "Two what, please? I am");
    call.transcribes("Two cakes.");
    assert_eq!(
        call.story()[3..],
        [
            "generate 0",
            "synthesize 0: Two what, please?",
            "user starts",
            "cancel generation 0",
            "cancel synthesis",
            "user stops",
            "user: Two cakes.",
            "generate 1",
        ]
    );
    assert_eq!(call.history(), ["user: Two cakes."]);
}

#[test]
fn a_late_final_extends_the_turn() {
    let mut call = Call::asked("I would like");
    call.writes(0, "What would you like? Well");
    call.advance(50);
    call.transcribes("two cakes.");
    assert_eq!(
        call.story(),
        [
            "synthesize 0: What would you like?",
            "user starts",
            "cancel generation 0",
            "cancel synthesis",
            "user stops",
            "user: two cakes.",
            "generate 1",
        ]
    );
    assert_eq!(call.history(), ["user: I would like two cakes."]);
    call.feed(Input::TurnEnded);
    call.writes(0, "too late for that, and this.");
    call.answers(1, "Two cakes it is.");
    assert_eq!(call.story(), ["generated: Two cakes it is.", "synthesize 1: Two cakes it is."]);
}

#[test]
fn a_user_who_goes_on_before_the_reply_is_heard_keeps_the_turn() {
    let mut call = Call::asked("I would like");
    call.advance(200);
    call.feed(Input::SpeechStarted);
    assert_eq!(call.story(), ["user starts"], "speech without words interrupts nothing");
    call.transcribes_interim("two");
    assert_eq!(call.story(), ["cancel generation 0"]);
    call.transcribes("two cakes.");
    call.advance(700);
    assert_eq!(call.story(), [""; 0], "no generation starts before the turn ends");
    call.feed(Input::TurnEnded);
    assert_eq!(call.story(), ["user stops", "user: two cakes.", "generate 1"]);
    assert_eq!(call.history(), ["user: I would like two cakes."]);
}

#[test]
fn every_whole_second_is_reported() {
    let mut call = Call::new(None);
    call.now = ms(500);
    call.feed(Input::MediaStarted);
    call.advance(3400);
    let seconds: Vec<_> = call.events().map(|(at, event)| (at, event.clone())).collect();
    assert_eq!(
        seconds,
        [1, 2, 3].map(|seconds| (500 + seconds * 1000, ConversationEvent::Duration { seconds }))
    );
    assert_eq!(call.engine.deadline(), Some(ms(4500)));
}

#[test]
fn time_never_runs_backwards() {
    let mut call = Call::begun();
    call.advance(5000);
    call.now = ms(1000);
    call.says("Hello there.");
    assert_eq!(call.messages()[0].1..=call.messages()[0].2, 5000..=5000);
}

#[test]
fn finals_are_appended_and_interims_replaced() {
    let mut call = Call::begun();
    call.transcribes_interim("I");
    call.transcribes_interim("I wood");
    call.transcribes("I would like");
    call.transcribes_interim("too");
    call.transcribes("two cakes.");
    call.feed(Input::TurnEnded);
    assert_eq!(call.story(), ["user starts", "user stops", "user: I would like two cakes.", "generate 0"]);
}

#[test]
fn the_first_end_of_a_turn_wins_and_later_ones_are_ignored() {
    let mut call = Call::begun();
    call.transcribes("Two cakes.");
    call.advance(300);
    call.feed(Input::TurnEnded);
    assert_eq!(call.story().last().unwrap(), "generate 0");
    call.answers(0, "Two cakes it is.");
    call.advance(700);
    call.feed(Input::TurnEnded);
    call.advance(8000);
    let story = call.story();
    assert!(!story.iter().any(|line| line.starts_with("generate ") || line.starts_with("user")), "{story:?}");
}

#[test]
fn a_late_final_is_a_turn_of_its_own_once_something_was_heard() {
    let mut call = Call::asked("I would like");
    call.answers(0, "What would you like? We have cakes.");
    call.advance(1500);
    call.says("two cakes.");
    assert_eq!(
        call.story()[4..],
        [
            "user starts",
            "clear",
            "agent stops",
            "agent, cut off: What would you like? We have",
            "user stops",
            "user: two cakes.",
            "generate 1"
        ]
    );
    let answer = "agent: What would you like? We have";
    assert_eq!(call.history(), ["user: I would like", answer, "user: two cakes."]);
}

#[test]
fn a_turn_that_ends_while_the_agent_is_silent_ends_its_response() {
    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.answers(0, "We close at six today. Tomorrow we close at seven.");
    call.delivers(0, 1000);
    call.completes(0);
    call.advance(900);
    call.transcribes("Okay.");
    call.advance(200);
    // The synthesizer has delivered nothing of the second clause, so the agent is not audible.
    call.feed(Input::TurnEnded);
    let story = call.story();
    assert_eq!(story[story.len() - 2..], ["user: Okay.", "generate 1"], "{story:?}");
    assert!(story.contains(&"agent, cut off: We close at six today.".to_owned()), "{story:?}");
    call.delivers(1, 1000);
    call.completes(1);
    call.advance(1000);
    assert_eq!(call.story(), [""; 0], "the second clause is not sent any more");
}
