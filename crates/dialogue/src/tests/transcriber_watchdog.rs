//! A transcriber that misses speech, or fails.

use super::*;

const LOST: [&str; 2] = ["late: Transcriber", "replace transcriber"];

#[test]
fn a_transcriber_that_misses_speech_is_replaced_1500_ms_after_it() {
    let mut call = Call::begun();
    call.speaks(600);
    call.advance(1499);
    assert_eq!(call.story(), [""; 0]);
    call.advance(1);
    assert_eq!(call.story(), LOST);
    call.advance(300);
    call.says("When do you close?");
    assert_eq!(call.story().last().unwrap(), "generate 0", "the replacement has transcribed it");
    call.answers(0, "We close at six.");
    call.advance(2000);
    assert_eq!(call.synthesized(), ["We close at six."]);
}

#[test]
fn the_agent_apologises_if_the_replacement_misses_it_too() {
    let mut call = Call::begun();
    call.speaks(1000);
    call.advance(2499);
    assert_eq!(call.synthesized(), [""; 0]);
    call.advance(1);
    assert_eq!(call.synthesized().join(" "), APOLOGY);
    call.advance(5000);
    assert_eq!(call.story().last().unwrap(), &format!("agent: {APOLOGY}"));
}

#[test]
fn the_third_missed_turn_in_a_row_ends_the_call() {
    let mut call = Call::begun();
    for apology in [APOLOGY, APOLOGY, GOODBYE] {
        call.speaks(1000);
        call.advance(2500);
        let spoken = call.synthesized().join(" ");
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
    // Separate sounds do not add up.
    call.speaks(300);
    call.advance(1600);
    call.speaks(300);
    call.advance(5000);
    assert_eq!(call.story(), [""; 0]);
}

#[test]
fn speech_with_pauses_counts_as_missed() {
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
fn words_that_a_replacement_repeats_do_not_count_again() {
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
    assert_eq!(call.story(), ["user starts", "user stops", "user: When do you close?", "generate 1"]);
}

#[test]
fn a_turn_stays_open_while_the_vad_hears_speech() {
    let mut call = Call::begun();
    call.speaks(600);
    call.advance(300);
    call.transcribes("My address is Maria at example.");
    call.speaks(200);
    call.feed(Input::TurnEnded);
    call.advance(100);
    assert_eq!(call.story(), ["user starts"], "the end belongs to the words before the speech");
    call.speaks(200);
    call.transcribes_interim("Dot com.");
    call.advance(400);
    call.says("Dot com.");
    assert_eq!(call.story(), ["user stops", "user: My address is Maria at example. Dot com.", "generate 0"]);
}

#[test]
fn a_reply_waits_for_a_caller_who_goes_on_and_is_generated_anew() {
    let mut call = Call::begun();
    call.says("My address is Maria at example.");
    call.sounds(100, -15);
    call.answers(0, "I will write to you.");
    call.sounds(200, -15);
    assert!(!call.story().contains(&"agent starts".to_owned()));
    call.transcribes("Dot com.");
    call.advance(300);
    call.feed(Input::TurnEnded);
    assert_eq!(call.history(), ["user: My address is Maria at example. Dot com."]);
    assert_eq!(call.story().last().unwrap(), "generate 1");
}

#[test]
fn a_sound_without_words_delays_a_reply_by_a_second() {
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
    assert_eq!(call.story().last().unwrap(), "generate 0");
    let mut call = Call::begun();
    call.speaks(600);
    call.says("When do you close?");
    call.sounds(980, -15);
    assert_eq!(call.story(), ["user starts"]);
    call.sounds(40, -15);
    assert_eq!(call.story(), ["user stops", "user: When do you close?", "generate 0"]);
}

#[test]
fn a_transcriber_that_detected_speech_may_take_longer_for_the_words() {
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
    assert_eq!(call.story(), ["generate 0"], "an idle line");
}

#[test]
fn a_replacement_while_the_agent_speaks_needs_no_apology() {
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
fn a_transcriber_failure_mid_turn_is_apologised_for() {
    let mut call = Call::begun();
    call.speaks(300);
    call.feed(Input::TranscriberFailed);
    call.speaks(100);
    call.advance(2299);
    assert_eq!(call.story(), [""; 0], "the worker is already connecting again");
    call.advance(1);
    assert_eq!(call.synthesized().join(" "), APOLOGY);
}

#[test]
fn a_transcriber_that_fails_and_is_back_in_time_changes_nothing() {
    let mut call = Call::begun();
    call.speaks(1000);
    call.feed(Input::TranscriberFailed);
    call.advance(2000);
    call.says("When do you close?");
    call.answers(0, "We close at six.");
    call.advance(5000);
    assert_eq!(call.synthesized(), ["We close at six."]);
}

#[test]
fn a_transcriber_failure_in_silence_changes_nothing() {
    let mut call = Call::begun();
    call.feed(Input::TranscriberFailed);
    call.advance(5000);
    call.speaks(300);
    call.advance(3000);
    call.feed(Input::TranscriberFailed);
    call.advance(5000);
    assert_eq!(call.story(), [""; 0]);
    // Nor does the failure hide that a later session misses speech.
    call.speaks(1000);
    call.advance(1500);
    assert_eq!(call.story(), LOST);
}

#[test]
fn a_transcriber_failure_is_apologised_for_without_detected_sound() {
    let mut call = Call::begun();
    call.feed(Input::SpeechStarted);
    call.feed(Input::TranscriberFailed);
    call.advance(2300);
    assert_eq!(call.synthesized().join(" "), APOLOGY);
}

#[test]
fn words_recognised_before_the_failure_are_replied_to() {
    let mut call = Call::begun();
    call.speaks(500);
    call.transcribes_interim("when do you");
    call.speaks(700);
    call.advance(2299);
    assert_eq!(call.story(), ["user starts"]);
    call.advance(1);
    assert_eq!(call.story()[..3], ["user stops", "user: when do you", "generate 0"]);

    let mut call = Call::begun();
    call.transcribes_interim("when do you");
    call.speaks(300);
    call.feed(Input::TranscriberFailed);
    call.advance(2300);
    assert_eq!(call.story()[1..], ["user stops", "user: when do you", "generate 0"]);
}

#[test]
fn words_replied_to_before_a_replacement_do_not_count_twice() {
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
    let answered = ["user starts", "user stops", "user: when do you", "generate 0"];
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
fn a_lost_transcriber_ends_the_call_after_the_clause_and_a_goodbye() {
    let mut call = Call::new(Some("Hello, this is Ada. Do you have any questions? Please ask me."));
    call.feed(Input::MediaStarted);
    call.advance(500);
    call.transcribes_interim("okay");
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
fn a_silent_agent_that_loses_its_transcriber_says_goodbye_at_once() {
    let mut call = Call::asked("When do you close?");
    call.feed(Input::TranscriberLost);
    assert_eq!(
        call.story()[..2],
        ["cancel generation 0", "synthesize 0: I'm sorry, I'm having trouble right now."]
    );
    call.advance(10_000);
    assert_eq!(call.story().last().unwrap(), "end: Unknown");

    let mut call = Call::asked("When do you close?");
    call.voice = None;
    call.feed(Input::TranscriberLost);
    call.advance(15_000);
    assert_eq!(call.done.last().unwrap().1, Output::End { reason: EndedReason::Unknown });
}

#[test]
fn a_paused_agent_that_loses_its_transcriber_says_goodbye_at_once() {
    let mut call = Call::new(Some("Hello, this is Ada. Do you have any questions?"));
    call.feed(Input::MediaStarted);
    call.advance(500);
    call.sounds(200, -15);
    let before = call.sent().len();
    call.feed(Input::TranscriberLost);
    assert!(call.sent().len() > before, "the agent goes on at once");
    call.advance(1000);
    assert!(call.story().contains(&"agent, cut off: Hello, this is Ada.".to_owned()));
}

#[test]
fn a_draining_call_is_handed_over_although_its_transcriber_is_lost() {
    let mut call = Call::begun();
    call.transcribes("When do you");
    call.feed(Input::Drain);
    call.feed(Input::TranscriberLost);
    call.advance(6000);
    assert_eq!(call.story().last().unwrap(), "hand over");
}

#[test]
fn without_times_of_words_latency_counts_from_the_last_speech_frame() {
    let mut call = Call::begun();
    call.speaks(1000);
    call.advance(400);
    call.says("When do you close?");
    call.answers(0, "We close at six.");
    call.advance(3000);
    let ended = call.messages()[0].2;
    assert_eq!(ended, 1000);
    let waited = call.events().find_map(|(_, event)| match event {
        ConversationEvent::MessageSent { latency, .. } => *latency,
        _ => None,
    });
    assert_eq!(waited.unwrap().response_ms(), 500);
}

/// A call whose transcriber has delivered interims only, `after_ms` after the caller's last sound.
fn interim_after_speech(after_ms: u64) -> Call {
    let transcriber = TranscriberProfile { can_finalize: true, ..TranscriberProfile::default() };
    let mut call = Call::with(EngineSettings { transcriber, ..EngineSettings::default() });
    call.feed(Input::MediaStarted);
    call.speaks(800);
    call.advance(after_ms);
    call.transcribes_interim("When do you close");
    call.story();
    call
}

#[test]
fn interims_are_made_final_700_ms_after_the_callers_last_sound_and_word() {
    let mut call = interim_after_speech(100);
    call.advance(699);
    assert_eq!(call.story(), [""; 0]);
    call.advance(1);
    assert_eq!(call.story(), ["finalize"]);
    call.says("When do you close?");
    assert_eq!(call.story().last().unwrap(), "generate 0");
}

#[test]
fn final_words_are_requested_once_and_may_never_come() {
    let mut call = interim_after_speech(100);
    call.advance(10_000);
    let story = call.story();
    assert_eq!(story.iter().filter(|line| *line == "finalize").count(), 1, "{story:?}");
    assert!(story.contains(&"user: When do you close".to_owned()), "{story:?}");
}

#[test]
fn a_caller_who_goes_on_is_not_finalized() {
    let mut call = interim_after_speech(0);
    for _ in 0..5 {
        call.advance(400);
        call.speaks(100);
        call.transcribes_interim("When do you close");
    }
    assert!(!call.story().contains(&"finalize".to_owned()));
}
