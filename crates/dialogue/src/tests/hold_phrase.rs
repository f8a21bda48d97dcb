//! The hold phrase: "One moment, please."

use super::{takeover::takeover, *};

const QUESTION: &str = "When do you close?";

/// A call `for_ms` after the hold phrase was sent to the synthesizer. The phrase plays from 2,400 to 3,350 ms.
fn waiting(for_ms: u64) -> Call {
    let mut call = Call::asked(QUESTION);
    call.advance(2300);
    assert_eq!(call.story(), [format!("synthesize 0: {HOLD_PHRASE}")]);
    call.advance(for_ms);
    call
}

#[test]
fn a_waiting_caller_hears_one_hold_phrase() {
    let mut call = Call::asked(QUESTION);
    call.advance(2299);
    assert_eq!(call.story(), [""; 0]);
    call.advance(1);
    assert_eq!(call.story(), [format!("synthesize 0: {HOLD_PHRASE}")]);
    call.advance(1600);
    assert_eq!(call.story(), ["agent starts", "agent stops", &format!("agent: {HOLD_PHRASE}")]);
    call.answers(0, "We close at six.");
    call.advance(3000);
    assert_eq!(call.story().last().unwrap(), "agent: We close at six.");
    assert_eq!(
        call.history(),
        [format!("user: {QUESTION}"), format!("agent: {HOLD_PHRASE} We close at six.")]
    );
}

#[test]
fn the_model_does_not_see_a_hold_phrase_said_last() {
    let mut call = waiting(2000);
    assert_eq!(call.story().last().unwrap(), "generate 1");
    assert_eq!(call.history(), [format!("user: {QUESTION}")], "the model would take it for a reply");
}

#[test]
fn no_hold_phrase_is_said_during_a_response() {
    let mut call = Call::asked(QUESTION);
    call.advance(1500);
    call.writes(0, "We close at six o'clock in the evening. But ");
    call.advance(6000);
    assert_eq!(call.synthesized(), ["We close at six o'clock in the evening."]);
}

#[test]
fn a_clause_just_requested_puts_the_hold_phrase_off() {
    let mut call = Call::asked(QUESTION);
    call.advance(2200);
    call.answers(0, "We close at six.");
    call.advance(5000);
    assert_eq!(call.synthesized(), ["We close at six."]);

    let mut call = Call::asked(QUESTION);
    call.voice = None;
    call.advance(2200);
    call.answers(0, "We close at six.");
    call.advance(499);
    assert_eq!(call.synthesized(), ["We close at six."]);
    call.advance(1);
    assert_eq!(call.synthesized(), [HOLD_PHRASE], "after 500 ms the hold phrase is said");
}

#[test]
fn the_hold_phrase_precedes_a_clause_without_audio() {
    let mut call = Call::asked(QUESTION);
    (call.voice, call.clips) = (None, true);
    call.advance(1000);
    call.answers(0, "We close at six.");
    call.advance(1500);
    assert_eq!(call.synthesized(), ["We close at six.", HOLD_PHRASE]);
    call.delivers(0, 500);
    call.completes(0);
    call.advance(3000);
    let story = call.story();
    assert_eq!(
        story,
        [
            "agent stops",
            &format!("agent: {HOLD_PHRASE}"),
            "agent starts",
            "agent stops",
            "agent: We close at six."
        ]
    );
    assert_eq!(call.history()[1..], [format!("agent: {HOLD_PHRASE} We close at six.")]);
}

#[test]
fn a_reply_that_overtakes_the_hold_phrase_replaces_it() {
    let mut call = Call::asked(QUESTION);
    call.voice = None;
    call.advance(2300);
    call.answers(0, "We close at six.");
    call.delivers(1, 500);
    call.completes(1);
    assert!(!call.sent().is_empty(), "the reply does not wait for the hold phrase");
    call.delivers(0, 500);
    call.completes(0);
    call.advance(3000);
    assert_eq!(call.story().last().unwrap(), "agent: We close at six.");
    assert_eq!(call.history()[1..], ["agent: We close at six."]);
}

#[test]
fn a_hold_phrase_that_fails_delays_nothing() {
    let mut call = Call::asked(QUESTION);
    call.voice = None;
    call.advance(2300);
    call.voice_fails(0);
    call.advance(50);
    assert_eq!(call.synthesized(), [HOLD_PHRASE], "the hold phrase is synthesized once only");
    call.fails(0);
    call.advance(300);
    call.voice = Some(Duration::from_millis(100));
    call.fails(1);
    call.advance(5000);
    assert_eq!(call.story().last().unwrap(), &format!("agent: {APOLOGY}"));

    // The same without a failure: the synthesizer stays silent.
    let mut call = Call::asked(QUESTION);
    call.voice = None;
    call.advance(2300);
    (call.clips, call.read) = (true, call.done.len());
    call.fails(0);
    call.advance(300);
    call.fails(1);
    call.advance(1);
    assert!(!call.sent().is_empty());
    call.advance(5000);
    assert_eq!(call.story().last().unwrap(), &format!("agent: {APOLOGY}"));
}

#[test]
fn the_hold_phrase_gives_a_stuck_synthesizer_no_more_time() {
    let mut call = Call::asked(QUESTION);
    (call.voice, call.clips) = (None, true);
    call.advance(1000);
    call.answers(0, "We close at six.");
    call.advance(1999);
    assert_eq!(call.synthesized(), ["We close at six.", HOLD_PHRASE]);
    call.advance(1);
    assert_eq!(call.synthesized(), ["We close at six."], "two seconds after the request");
}

#[test]
fn a_turn_with_a_hold_phrase_alone_has_failed() {
    let mut call = Call::asked(QUESTION);
    for turn in 0..3 {
        call.advance(5000);
        let story = call.story();
        assert!(story.contains(&format!("agent: {HOLD_PHRASE}")), "{story:?}");
        call.advance(10_000);
        let apology = if turn < 2 { APOLOGY } else { GOODBYE };
        assert_eq!(call.synthesized().join(" "), apology);
        call.says(QUESTION);
    }
    assert_eq!(call.done.last().unwrap().1, Output::End { reason: EndedReason::Unknown });
}

#[test]
fn interrupting_the_hold_phrase_keeps_the_count_of_failed_turns() {
    let mut call = Call::asked(QUESTION);
    for _ in 0..2 {
        call.advance(9000);
        call.says(QUESTION);
        call.advance(3000);
        call.says("Hello? Are you there?");
    }
    call.story();
    call.advance(9000);
    assert_eq!(call.synthesized()[1..].join(" "), GOODBYE);
}

#[test]
fn a_late_final_restarts_the_generation_if_only_the_hold_phrase_was_heard() {
    let mut call = waiting(2000 - 400);
    call.story();
    call.feed(Input::Transcript { text: "on Sunday?".into(), is_final: true, spoken_until: Some(ms(10)) });
    assert_eq!(
        call.story(),
        ["user starts", "cancel generation 0", "user stops", "user: on Sunday?", "generate 1"]
    );
    assert_eq!(
        call.history(),
        [format!("user: {QUESTION}"), format!("agent: {HOLD_PHRASE}"), "user: on Sunday?".into()]
    );
    call.advance(3900);
    assert_eq!(call.synthesized(), [""; 0], "one hold phrase per turn");
}

#[test]
fn wrong_words_are_retracted_across_the_hold_phrase() {
    let mut call = Call::begun();
    call.transcribes_interim("two kicks");
    call.feed(Input::TurnEnded);
    call.advance(3900);
    call.transcribes("Two cakes.");
    assert_eq!(call.history(), [format!("agent: {HOLD_PHRASE}"), "user: Two cakes.".into()]);
}

#[test]
fn a_caller_can_interrupt_the_hold_phrase() {
    let mut call = waiting(100 + 700);
    call.story();
    call.says("Hello? Is it you?");
    assert_eq!(
        call.story(),
        [
            "user starts",
            "clear",
            "cancel generation 0",
            "agent stops",
            "agent, cut off: One moment,",
            "user stops",
            "user: Hello? Is it you?",
            "generate 1"
        ]
    );
    call.advance(2300);
    assert_eq!(call.synthesized(), [HOLD_PHRASE], "another turn has a hold phrase of its own");
}

#[test]
fn two_hundred_milliseconds_of_speech_pause_the_hold_phrase() {
    let mut call = waiting(100 + 200);
    call.story();
    call.sounds(200, -15);
    assert_eq!(call.story()[0], "clear");
    call.advance(5000);
    assert!(call.story().contains(&format!("agent: {HOLD_PHRASE}")), "the sound was a false interruption");
}

#[test]
fn an_okay_to_the_hold_phrase_is_backchannel() {
    for after in [100 + 800, 100 + 1200] {
        let mut call = waiting(after);
        call.story();
        call.feed(Input::SpeechStarted);
        call.says("Okay.");
        assert_eq!(call.story(), ["user starts", "user stops"], "{after}");
        call.answers(0, "We close at six.");
        call.advance(5000);
        assert_eq!(call.story().last().unwrap(), "agent: We close at six.");
        assert_eq!(call.history().len(), 2);
    }
}

#[test]
fn a_hold_phrase_does_not_shorten_the_latency() {
    let mut call = waiting(1600);
    call.answers(0, "We close at six.");
    call.advance(3000);
    let latencies: Vec<_> = call
        .events()
        .filter_map(|(_, event)| match event {
            ConversationEvent::MessageSent { role: Role::Agent, latency, .. } => Some(*latency),
            _ => None,
        })
        .collect();
    let latency = Latency { transcript_ms: 0, model_ms: 3900, voice_ms: 100, send_ms: 0 };
    assert_eq!(latencies, [None, Some(latency)]);
}

#[test]
fn the_hold_phrase_is_said_while_tools_run() {
    let mut call = Call::asked("Is there a table?");
    call.calls(0, "a");
    call.finishes(0);
    call.story();
    call.advance(4000);
    assert_eq!(call.synthesized(), [HOLD_PHRASE]);
    assert_eq!(call.history()[1..], ["calls a", &format!("a = {}", super::super::history::UNANSWERED)]);
    call.tool_returns("a", "yes");
    call.answers(1, "There is a table.");
    call.advance(4000);
    assert_eq!(call.history()[2..], ["a = yes", &format!("agent: {HOLD_PHRASE} There is a table.")]);
}

#[test]
fn the_wait_begins_anew_after_the_agent_has_spoken() {
    let mut call = Call::asked("Is there a table?");
    call.writes(0, "Let me have a look.");
    call.calls(0, "a");
    call.finishes(0);
    // The sentence plays from 100 to 1,050 ms.
    call.advance(1050 + 2299);
    assert_eq!(call.synthesized(), ["Let me have a look."]);
    call.advance(1);
    assert_eq!(call.synthesized(), [HOLD_PHRASE]);
}

#[test]
fn no_hold_phrase_is_said_while_the_caller_makes_a_sound() {
    let mut call = Call::asked(QUESTION);
    call.advance(2000);
    call.sounds(1000, -15);
    assert_eq!(call.synthesized(), [""; 0]);
    call.advance(300);
    assert_eq!(call.synthesized(), [HOLD_PHRASE]);

    let mut call = Call::asked(QUESTION);
    call.advance(2000);
    call.sounds(4000, -15);
    assert_eq!(call.synthesized(), [HOLD_PHRASE], "a sound that goes on is no speech");
}

#[test]
fn no_hold_phrase_is_said_without_a_waiting_caller() {
    let mut call = Call::new(Some("Hello, this is Ada."));
    call.voice = None;
    call.feed(Input::MediaStarted);
    call.advance(10_000);
    assert!(!call.synthesized().contains(&HOLD_PHRASE.to_owned()), "a greeting");

    let mut call = Call::begun();
    call.advance(15_000);
    assert_eq!(call.story(), ["generate 0"]);
    call.advance(3900);
    assert_eq!(call.synthesized(), [""; 0], "a reminder");

    let mut call = Call::asked(QUESTION);
    call.voice = None;
    call.answers(0, "Goodbye to you.");
    call.feed(Input::HangUp);
    call.advance(4000);
    assert_eq!(
        call.synthesized(),
        ["Goodbye to you.", "Goodbye to you."],
        "an agent that ends the conversation"
    );
}

#[test]
fn a_turn_that_ends_late_gets_a_hold_phrase_at_once() {
    let mut call = Call::begun();
    call.transcribes_interim("five five");
    call.advance(3000);
    assert_eq!(call.story()[3..], ["generate 0", &format!("synthesize 0: {HOLD_PHRASE}")]);
}

#[test]
fn the_next_worker_replies_after_a_hold_phrase() {
    let mut call = waiting(100 + 700);
    assert_eq!(
        call.engine.in_progress(call.now),
        Some(UtteranceInProgress {
            heard: "One moment,".into(),
            unheard: String::new(),
            started_at: ms(2400),
            kind: UtteranceKind::HoldPhrase,
        }),
        "the next worker generates the reply"
    );
    call.feed(Input::Drain);
    call.advance(500);
    assert_eq!(call.story().last().unwrap(), "hand over");
    for heard in [HOLD_PHRASE, "One moment,"] {
        let held = HistoryItem::Agent { text: heard.into(), kind: UtteranceKind::HoldPhrase };
        let mut call = takeover(vec![HistoryItem::User(QUESTION.into()), held], None);
        assert_eq!(call.story(), ["generate 0"]);
        call.answers(0, "We close at six.");
        call.advance(3000);
        assert_eq!(call.history()[1..], [format!("agent: {heard} We close at six.")]);
    }
}

#[test]
fn a_reply_behind_the_hold_phrase_is_left_to_the_next_worker() {
    let mut call = waiting(100 + 300);
    call.answers(0, "We close at six.");
    call.feed(Input::Drain);
    call.advance(500);
    assert_eq!(call.story().last().unwrap(), "hand over");
    assert_eq!(call.history().last().unwrap(), &format!("user: {QUESTION}"));
}

#[test]
fn the_hold_phrase_is_in_the_callers_language() {
    let mut engine = Engine::new(EngineSettings { language: "de-AT".into(), ..EngineSettings::default() });
    let mut out = vec![];
    engine.on(ms(0), Input::MediaStarted, &mut out);
    engine.on(
        ms(0),
        Input::Transcript { text: "Hallo?".into(), is_final: true, spoken_until: None },
        &mut out,
    );
    engine.on(ms(0), Input::TurnEnded, &mut out);
    engine.on(ms(2300), Input::Wake, &mut out);
    let clause = ClauseId(0);
    assert!(out.contains(&Output::Synthesize { clause, text: "Einen Moment bitte.".into() }));
}
