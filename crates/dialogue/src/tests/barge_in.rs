//! The user makes a sound while the agent speaks.

use super::*;

/// 45 characters: they play for 2,250 ms, from 100 ms on.
const ANSWER: &str = "On Saturdays we close at six in the afternoon";
const LOUD: i16 = -15;

/// A call in which [`ANSWER`] has been playing for `for_ms`.
fn speaking(for_ms: u64) -> Call {
    let mut call = Call::asked("When do you close?");
    call.answers(0, ANSWER);
    call.advance(100 + for_ms);
    assert_eq!(call.story()[2..], ["agent starts"]);
    call
}

/// Length of the audio that was sent, without the audio that a rewind took back.
fn sent(call: &Call) -> Duration {
    call.done.iter().fold(Duration::ZERO, |sent, (_, output)| match output {
        Output::Send { audio, .. } => sent + *audio,
        Output::Rewind { audio, .. } => sent.checked_sub(*audio).unwrap(),
        _ => sent,
    })
}

#[test]
fn the_frame_that_completes_200_ms_of_speech_pauses_the_agent() {
    let mut call = speaking(500);
    call.sounds(180, LOUD);
    assert_eq!(call.story(), [""; 0]);
    call.sounds(20, LOUD);
    let story = call.story();
    assert_eq!(story[0], "clear");
    assert!(story[1].starts_with("rewind 0 by "), "{story:?}");
    assert_eq!(story.len(), 2);
    assert_eq!(call.done.iter().find(|(_, output)| *output == Output::Clear).unwrap().0, ms(800));
}

#[test]
fn a_cough_is_a_false_interruption() {
    let mut call = speaking(500);
    call.sounds(300, LOUD);
    call.story();
    let before = call.sent().len();
    call.is_quiet(980);
    assert_eq!(call.sent().len(), before, "the agent waits for words");
    call.advance(100);
    assert!(call.sent().len() > before, "the agent goes on without an input");
    call.advance(5000);
    assert_eq!(call.story(), ["agent stops", &format!("agent: {ANSWER}")]);
    assert_eq!(call.history(), ["user: When do you close?", &format!("agent: {ANSWER}")]);
}

#[test]
fn the_agent_goes_on_with_the_word_it_paused_in() {
    let mut call = speaking(500);
    // 700 ms have played: 14 characters, one into "we".
    call.sounds(200, LOUD);
    // "On Saturdays " has 13 characters of 50 ms each; a frame has 20 ms.
    assert_eq!(sent(&call), Duration::from_millis(13 * 50 / 20 * 20));
    call.advance(10_000);
    assert_eq!(sent(&call), Duration::from_millis(45 * 50), "the whole answer was sent");
}

#[test]
fn words_after_the_sound_complete_the_barge_in() {
    let mut call = speaking(500);
    call.sounds(300, LOUD);
    call.story();
    call.transcribes_interim("wait a moment");
    assert_eq!(
        call.story(),
        ["user starts", "cancel synthesis", "agent stops", "agent, cut off: On Saturdays"],
        "the pause has cleared the audio"
    );
    call.advance(3000);
    assert_eq!(call.story()[..2], ["user stops", "user: wait a moment"]);
}

#[test]
fn backchannel_is_no_barge_in() {
    let mut call = speaking(500);
    call.sounds(300, LOUD);
    call.story();
    call.feed(Input::SpeechStarted);
    call.transcribes_interim("uh");
    assert_eq!(call.story(), ["user starts"]);
    let before = call.sent().len();
    call.transcribes("Uh-huh.");
    assert!(call.sent().len() > before, "the agent goes on at once");
    call.feed(Input::TurnEnded);
    call.advance(5000);
    assert_eq!(call.story(), ["user stops", "agent stops", &format!("agent: {ANSWER}")]);
    assert_eq!(call.history().len(), 2);
}

#[test]
fn a_yes_that_outlasts_the_agent_is_an_answer() {
    let mut call = speaking(2100);
    call.transcribes_interim("yes");
    call.advance(300);
    call.transcribes("Yes.");
    call.feed(Input::TurnEnded);
    let story = call.story();
    assert_eq!(story[story.len() - 2..], ["user: Yes.", "generate 1"], "{story:?}");
}

#[test]
fn backchannel_followed_by_other_words_is_a_barge_in() {
    let mut call = speaking(1000);
    call.transcribes_interim("yeah");
    assert_eq!(call.story(), ["user starts"]);
    call.transcribes_interim("yeah but tomorrow");
    assert_eq!(call.story()[..2], ["clear", "cancel synthesis"]);
}

#[test]
fn the_agents_own_echo_does_not_pause_it() {
    let mut call = speaking(200);
    call.sounds(1000, -26);
    assert_eq!(call.story(), [""; 0]);
}

#[test]
fn clicks_do_not_add_up_to_speech() {
    let mut call = speaking(100);
    for _ in 0..5 {
        call.sounds(100, LOUD);
        call.is_quiet(120);
    }
    assert_eq!(call.story(), [""; 0]);
}

#[test]
fn a_short_gap_is_within_a_word() {
    let mut call = speaking(100);
    call.sounds(120, LOUD);
    call.is_quiet(60);
    call.sounds(80, LOUD);
    assert_eq!(call.story()[0], "clear");
}

#[test]
fn sound_without_words_pauses_the_agent_once_for_three_seconds() {
    let mut call = speaking(100);
    call.sounds(200, LOUD);
    let stopped_at = call.now;
    let before = call.sent().len();
    call.sounds(8000, LOUD);
    let went_on = call.sent()[before].0;
    assert_eq!(went_on, (stopped_at + crate::timing::LONGEST_HESITATION).0 / 1000);
    assert_eq!(call.story().iter().filter(|line| *line == "clear").count(), 1);
}

#[test]
fn nothing_is_paused_when_nothing_is_audible() {
    let mut call = Call::asked("When do you close?");
    call.sounds(1000, LOUD);
    assert_eq!(call.story(), [""; 0]);
}

#[test]
fn a_sound_does_not_pause_an_agent_that_is_closing() {
    let mut call = speaking(500);
    call.feed(Input::HangUp);
    call.sounds(1000, LOUD);
    assert_eq!(call.story(), [""; 0]);
}

#[test]
fn a_handover_during_a_pause_loses_no_word() {
    let mut call = speaking(500);
    call.sounds(300, LOUD);
    call.story();
    call.feed(Input::Drain);
    call.advance(600);
    let story = call.story();
    assert!(story.contains(&"agent, cut off: On Saturdays".to_owned()), "{story:?}");
    assert_eq!(story.last().unwrap(), "hand over: we close at six in the afternoon");
}

#[test]
fn marks_from_before_the_pause_are_not_heard_words() {
    let mut call = Call::asked("When do you close?");
    call.carrier = None;
    call.answers(0, "We close at six today. Tomorrow we close at seven.");
    call.advance(100 + 600);
    call.sounds(200, LOUD);
    call.feed(Input::Played { mark: Mark { clears: 0, number: 0 } });
    call.transcribes("Wait a moment.");
    assert_eq!(call.story().last().unwrap(), "agent, cut off: We close at six");
}

#[test]
fn a_clause_whose_mark_returns_after_the_pause_was_heard() {
    let mut call = Call::asked("When do you close?");
    call.carrier = Some(Duration::from_millis(200));
    call.answers(0, "We close at six today. Tomorrow we close at seven in the evening.");
    // The first clause plays from 100 to 1,200 ms.
    call.advance(1040);
    call.sounds(200, LOUD);
    call.advance(1000 + 850);
    call.transcribes("Wait a moment.");
    let heard = "agent, cut off: We close at six today. Tomorrow we close";
    assert_eq!(call.story().last().unwrap(), heard, "the words after it were heard too");
}

#[test]
fn sound_louder_than_the_agents_echo_pauses_it() {
    let mut call = speaking(200);
    // The agent is at -20 dB: its echo is weaker by more than 3 dB.
    call.sounds(1000, -24);
    assert_eq!(call.story(), [""; 0]);
    call.sounds(200, -23);
    assert_eq!(call.story()[0], "clear");
}

#[test]
fn soft_frames_within_a_loud_word_count_as_speech() {
    let mut call = speaking(200);
    for _ in 0..2 {
        call.sounds(20, -20);
        call.sounds(80, -28);
    }
    assert_eq!(call.story()[0], "clear");
}

#[test]
fn a_click_in_the_agents_echo_does_not_pause_it() {
    let mut call = speaking(200);
    call.sounds(400, -26);
    call.sounds(60, LOUD);
    call.sounds(400, -26);
    assert_eq!(call.story(), [""; 0]);
}

#[test]
fn speech_from_before_the_agent_began_does_not_pause_it() {
    let mut call = Call::asked("When do you close?");
    call.sounds(180, LOUD);
    call.answers(0, ANSWER);
    call.sounds(1000, LOUD);
    let story = call.story();
    assert_eq!(
        story.last().unwrap(),
        "agent starts",
        "180 ms of the speech fall into audible time: {story:?}"
    );
    call.sounds(20, LOUD);
    assert_eq!(call.story()[0], "clear");
}

#[test]
fn frames_that_are_left_out_are_silence() {
    let mut call = speaking(100);
    call.sounds(180, LOUD);
    call.advance(400);
    call.sounds(180, LOUD);
    assert_eq!(call.story(), [""; 0]);
}

#[test]
fn backchannel_depends_on_the_language() {
    for (language, words, is_mere) in
        [("de", "Ja, genau.", true), ("en", "Ja, genau.", false), ("de", "Moment!", false)]
    {
        let mut call = Call::with(EngineSettings { language: language.into(), ..EngineSettings::default() });
        call.feed(Input::MediaStarted);
        call.says("Wann?");
        call.answers(0, ANSWER);
        call.advance(1000);
        call.story();
        call.transcribes(words);
        assert_eq!(call.story() == ["user starts"], is_mere, "{language}: {words}");
    }
}

#[test]
fn a_pause_keeps_the_model_and_the_voice_working() {
    let mut call = Call::asked("When do you close?");
    call.writes(0, "On Saturdays we close at six. And ");
    call.advance(600);
    call.sounds(200, LOUD);
    call.story();
    call.answers(0, "on Sundays at five.");
    call.advance(200);
    assert_eq!(
        call.story(),
        [
            "generated: On Saturdays we close at six. And on Sundays at five.",
            "synthesize 1: And on Sundays at five."
        ]
    );
    call.advance(5000);
    assert_eq!(call.story().last().unwrap(), "agent: On Saturdays we close at six. And on Sundays at five.");
}
