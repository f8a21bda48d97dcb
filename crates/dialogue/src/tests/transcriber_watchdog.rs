//! A transcriber that does not hear the caller.

use super::*;

const LOST: [&str; 2] = ["late: Transcriber", "replace transcriber"];

#[test]
fn a_transcriber_that_says_nothing_of_speech_is_replaced_a_second_and_a_half_after_it() {
    let mut call = Call::begun();
    call.speaks(600);
    call.advance(1499);
    assert_eq!(call.story(), [""; 0]);
    call.advance(1);
    assert_eq!(call.story(), LOST);
    call.advance(300);
    call.says("When do you close?");
    assert_eq!(call.story().last().unwrap(), "ask 0", "another one has heard it");
    call.answers(0, "We close at six.");
    call.advance(2000);
    assert_eq!(call.spoken(), ["We close at six."]);
}

#[test]
fn if_the_next_one_understands_nothing_either_the_caller_is_told() {
    let mut call = Call::begun();
    call.speaks(1000);
    call.advance(2499);
    assert_eq!(call.spoken(), [""; 0]);
    call.advance(1);
    assert_eq!(call.spoken().join(" "), APOLOGY);
    call.advance(5000);
    assert_eq!(call.story().last().unwrap(), &format!("agent: {APOLOGY}"));
}

#[test]
fn the_third_time_in_a_row_the_agent_says_goodbye_and_ends() {
    let mut call = Call::begun();
    for apology in [APOLOGY, APOLOGY, GOODBYE] {
        call.speaks(1000);
        call.advance(2500);
        let spoken = call.spoken().join(" ");
        assert!(apology.starts_with(&spoken) && !spoken.is_empty(), "{spoken}");
        call.advance(6000);
    }
    assert_eq!(call.done.last().unwrap().1, Output::End { reason: EndedReason::Unknown });
}

#[test]
fn a_short_sound_is_not_missed() {
    let mut call = Call::begun();
    call.speaks(580);
    call.advance(5000);
    assert_eq!(call.story(), [""; 0]);
    // Sounds that are apart do not add up.
    call.speaks(300);
    call.advance(1600);
    call.speaks(300);
    call.advance(5000);
    assert_eq!(call.story(), [""; 0]);
}

#[test]
fn speech_in_which_there_are_pauses_is_missed() {
    let mut call = Call::begun();
    call.speaks(300);
    call.advance(700);
    call.speaks(300);
    call.advance(1500);
    assert_eq!(call.story(), LOST);
}

#[test]
fn recognised_speech_is_not_missed() {
    let mut call = Call::begun();
    call.speaks(1000);
    call.advance(300);
    call.says("Hello there.");
    call.answers(0, "Good morning.");
    call.advance(8000);
    let story = call.story();
    assert!(!story.contains(&LOST[1].to_owned()), "{story:?}");
}

#[test]
fn the_agents_echo_is_not_missed() {
    let mut call = Call::begun();
    call.sounds(2000, -26);
    call.advance(5000);
    assert_eq!(call.story(), [""; 0]);
}

#[test]
fn words_that_the_next_transcriber_hears_again_are_not_said_again() {
    let mut call = Call::begun();
    let words = |text: &str, at: u64| Input::Transcript {
        text: text.into(),
        is_final: true,
        spoken_until: Some(ms(at)),
    };
    call.speaks(800);
    call.advance(300);
    call.feed(words("Good morning.", 800));
    call.feed(Input::TurnEnded);
    call.answers(0, "Good morning.");
    call.advance(1200);
    call.speaks(800);
    call.advance(1500);
    assert_eq!(call.story().last().unwrap(), LOST[1]);
    call.feed(words("Good morning.", 800));
    assert_eq!(call.story(), [""; 0]);
    call.feed(words("When do you close?", 3080));
    call.feed(Input::TurnEnded);
    assert_eq!(call.story(), ["user starts", "user stops", "user: When do you close?", "ask 1"]);
}

#[test]
fn a_turn_stays_open_while_the_vad_hears_speech() {
    let mut call = Call::begun();
    call.speaks(600);
    call.advance(300);
    call.hears("My address is Maria at example.");
    call.speaks(200);
    call.feed(Input::TurnEnded);
    call.advance(100);
    assert_eq!(call.story(), ["user starts"], "that was the end of what came before");
    call.speaks(200);
    call.guesses("Dot com.");
    call.advance(400);
    call.says("Dot com.");
    assert_eq!(call.story(), ["user stops", "user: My address is Maria at example. Dot com.", "ask 0"]);
}

#[test]
fn an_answer_does_not_begin_while_the_caller_goes_on_and_is_asked_for_again_with_all_words() {
    let mut call = Call::begun();
    call.says("My address is Maria at example.");
    call.sounds(100, -15);
    call.answers(0, "I will write to you.");
    call.sounds(200, -15);
    assert!(!call.story().contains(&"agent starts".to_owned()));
    call.hears("Dot com.");
    call.advance(300);
    call.feed(Input::TurnEnded);
    assert_eq!(call.history(), ["user: My address is Maria at example. Dot com."]);
    assert_eq!(call.story().last().unwrap(), "ask 1");
}

#[test]
fn a_sound_without_words_holds_an_answer_up_for_a_second() {
    let mut call = Call::begun();
    call.says("When do you close?");
    call.sounds(100, -15);
    call.answers(0, "At six.");
    call.sounds(860, -15);
    assert!(!call.story().contains(&"agent starts".to_owned()));
    call.sounds(80, -15);
    assert!(call.story().contains(&"agent starts".to_owned()));
}

#[test]
fn a_sound_without_words_keeps_a_turn_open_for_a_second() {
    let mut call = Call::begun();
    call.speaks(600);
    call.advance(300);
    call.says("When do you close?");
    assert_eq!(call.story().last().unwrap(), "ask 0");
    let mut call = Call::begun();
    call.speaks(600);
    call.says("When do you close?");
    call.sounds(980, -15);
    assert_eq!(call.story(), ["user starts"]);
    call.sounds(40, -15);
    assert_eq!(call.story(), ["user stops", "user: When do you close?", "ask 0"]);
}

#[test]
fn a_transcriber_that_noticed_speech_may_take_longer_for_the_words() {
    let mut call = Call::begun();
    call.feed(Input::SpeechStarted);
    call.speaks(1000);
    call.advance(2299);
    assert_eq!(call.story(), ["user starts"]);
    call.advance(1);
    assert_eq!(call.story()[..3], [LOST[0], LOST[1], "user stops"]);
    call.advance(5000);
    assert_eq!(call.story().last().unwrap(), &format!("agent: {APOLOGY}"));

    let mut call = Call::begun();
    call.feed(Input::SpeechStarted);
    call.speaks(900);
    call.advance(5000);
    assert_eq!(call.story(), ["user starts", "user stops"], "laughter");
}

#[test]
fn the_beginning_of_speech_without_words_is_forgotten_after_three_seconds() {
    let mut call = Call::begun();
    call.feed(Input::SpeechStarted);
    call.advance(2999);
    assert_eq!(call.story(), ["user starts"]);
    call.advance(1);
    assert_eq!(call.story(), ["user stops"]);
    call.advance(15_000);
    assert_eq!(call.story(), ["ask 0"], "an idle line");
}

#[test]
fn while_the_agent_speaks_the_transcriber_is_replaced_without_a_word() {
    let mut call = Call::new(Some(&"This is one of many sentences. ".repeat(8)));
    call.feed(Input::MediaStarted);
    call.advance(1000);
    call.speaks(700);
    call.story();
    call.advance(1500);
    assert!(call.story().contains(&LOST[1].to_owned()));
    call.advance(12_000);
    let story = call.story();
    assert!(story.last().unwrap().starts_with("agent: This is one"), "{story:?}");
    assert!(!story.iter().any(|line| line.contains("catch that")), "{story:?}");
}

#[test]
fn a_transcriber_that_breaks_while_the_caller_speaks_and_understands_nothing_later_is_apologised_for() {
    let mut call = Call::begun();
    call.speaks(300);
    call.feed(Input::TranscriberFailed);
    call.speaks(100);
    call.advance(2299);
    assert_eq!(call.story(), [""; 0], "another one is being opened already");
    call.advance(1);
    assert_eq!(call.spoken().join(" "), APOLOGY);
}

#[test]
fn a_transcriber_that_breaks_and_is_back_in_time_is_not_noticed() {
    let mut call = Call::begun();
    call.speaks(1000);
    call.feed(Input::TranscriberFailed);
    call.advance(2000);
    call.says("When do you close?");
    call.answers(0, "We close at six.");
    call.advance(5000);
    assert_eq!(call.spoken(), ["We close at six."]);
}

#[test]
fn a_transcriber_that_breaks_in_silence_is_not_noticed() {
    let mut call = Call::begun();
    call.feed(Input::TranscriberFailed);
    call.advance(5000);
    call.speaks(300);
    call.advance(3000);
    call.feed(Input::TranscriberFailed);
    call.advance(5000);
    assert_eq!(call.story(), [""; 0]);
    // Nor does it hide that a later one is deaf.
    call.speaks(1000);
    call.advance(1500);
    assert_eq!(call.story(), LOST);
}

#[test]
fn a_broken_transcriber_is_noticed_without_vad() {
    let mut call = Call::begun();
    call.feed(Input::SpeechStarted);
    call.feed(Input::TranscriberFailed);
    call.advance(2300);
    assert_eq!(call.spoken().join(" "), APOLOGY);
}

#[test]
fn words_recognised_before_the_failure_are_answered() {
    let mut call = Call::begun();
    call.speaks(500);
    call.guesses("when do you");
    call.speaks(700);
    call.advance(2299);
    assert_eq!(call.story(), ["user starts"]);
    call.advance(1);
    assert_eq!(call.story()[..3], ["user stops", "user: when do you", "ask 0"]);

    let mut call = Call::begun();
    call.guesses("when do you");
    call.speaks(300);
    call.feed(Input::TranscriberFailed);
    call.advance(2300);
    assert_eq!(call.story()[1..], ["user stops", "user: when do you", "ask 0"]);
}

#[test]
fn words_that_were_answered_before_another_transcriber_hears_them_are_not_said_twice() {
    let words = |text: &str, is_final: bool, at: u64| Input::Transcript {
        text: text.into(),
        is_final,
        spoken_until: Some(ms(at)),
    };
    let mut call = Call::begun();
    call.speaks(1000);
    call.advance(200);
    call.feed(words("when do you", false, 800));
    call.feed(Input::TranscriberFailed);
    call.advance(2100);
    let answered = ["user starts", "user stops", "user: when do you", "ask 0"];
    assert_eq!(call.story(), answered, "2.3 s after the last sound, not 3 s after the words");
    call.feed(Input::SpeechStarted);
    call.feed(words("when", false, 300));
    call.feed(words("when do you", false, 800));
    assert_eq!(call.story(), ["user starts"]);
    call.feed(words("When do you close?", true, 1000));
    call.feed(Input::TurnEnded);
    assert_eq!(call.history(), ["user: when do you close?"]);
}

#[test]
fn an_agent_without_a_transcriber_finishes_its_clause_says_goodbye_and_ends() {
    let mut call = Call::new(Some("Hello, this is Ada. Do you have any questions? Please ask me."));
    call.feed(Input::MediaStarted);
    call.advance(500);
    call.guesses("okay");
    call.story();
    call.feed(Input::TranscriberLost);
    call.feed(Input::TranscriberLost);
    call.advance(10_000);
    let story = call.story();
    assert!(story.contains(&"user: okay".to_owned()), "{story:?}");
    assert!(story.contains(&"agent, cut off: Hello, this is Ada.".to_owned()), "{story:?}");
    assert_eq!(story[story.len() - 2..], [format!("agent: {GOODBYE}"), "end: Unknown".into()]);
}

#[test]
fn an_agent_that_loses_its_transcriber_in_silence_says_goodbye_at_once() {
    let mut call = Call::asked("When do you close?");
    call.feed(Input::TranscriberLost);
    assert_eq!(call.story()[..2], ["cancel ask 0", "speak 0: I'm sorry, I'm having trouble right now."]);
    call.advance(10_000);
    assert_eq!(call.story().last().unwrap(), "end: Unknown");

    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.feed(Input::TranscriberLost);
    call.advance(15_000);
    assert_eq!(call.done.last().unwrap().1, Output::End { reason: EndedReason::Unknown });
}

#[test]
fn an_agent_that_has_stopped_for_a_sound_says_goodbye_without_waiting_for_words() {
    let mut call = Call::new(Some("Hello, this is Ada. Do you have any questions?"));
    call.feed(Input::MediaStarted);
    call.advance(500);
    call.sounds(200, -15);
    let before = call.sent().len();
    call.feed(Input::TranscriberLost);
    assert!(call.sent().len() > before, "it goes on at once");
    call.advance(1000);
    assert!(call.story().contains(&"agent, cut off: Hello, this is Ada.".to_owned()));
}

#[test]
fn a_call_that_is_handed_over_gets_another_transcriber_anyway() {
    let mut call = Call::begun();
    call.hears("When do you");
    call.feed(Input::Drain);
    call.feed(Input::TranscriberLost);
    call.advance(6000);
    assert_eq!(call.story().last().unwrap(), "hand over");
}

#[test]
fn without_word_times_the_wait_starts_at_the_last_speech_frame() {
    let mut call = Call::begun();
    call.speaks(1000);
    call.advance(400);
    call.says("When do you close?");
    call.answers(0, "We close at six.");
    call.advance(3000);
    let ended = call.messages()[0].2;
    assert_eq!(ended, 1000);
    let waited = call.happened().find_map(|(_, event)| match event {
        ConversationEvent::MessageSent { latency, .. } => *latency,
        _ => None,
    });
    assert_eq!(waited.unwrap().response_ms(), 500);
}
