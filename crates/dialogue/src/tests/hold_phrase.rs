//! "One moment, please."

use super::{takeover::takeover, *};

const QUESTION: &str = "When do you close?";

/// A call in which the caller has asked something and was asked for patience: it plays from 2,400 to
/// 3,350 ms.
fn waiting(for_ms: u64) -> Call {
    let mut call = Call::asked(QUESTION);
    call.advance(2300);
    assert_eq!(call.story(), [format!("speak 0: {MOMENT}")]);
    call.advance(for_ms);
    call
}

#[test]
fn a_waiting_caller_hears_one_hold_phrase() {
    let mut call = Call::asked(QUESTION);
    call.advance(2299);
    assert_eq!(call.story(), [""; 0]);
    call.advance(1);
    assert_eq!(call.story(), [format!("speak 0: {MOMENT}")]);
    call.advance(1600);
    assert_eq!(call.story(), ["agent starts", "agent stops", &format!("agent: {MOMENT}")]);
    call.answers(0, "We close at six.");
    call.advance(3000);
    assert_eq!(call.story().last().unwrap(), "agent: We close at six.");
    assert_eq!(call.history(), [format!("user: {QUESTION}"), format!("agent: {MOMENT} We close at six.")]);
}

#[test]
fn the_model_is_not_told_of_the_hold_phrase() {
    let mut call = waiting(2000);
    assert_eq!(call.story().last().unwrap(), "ask 1");
    assert_eq!(call.history(), [format!("user: {QUESTION}")], "it would look like an answer");
}

#[test]
fn no_hold_phrase_is_said_during_a_response() {
    let mut call = Call::asked(QUESTION);
    call.advance(1500);
    call.writes(0, "We close at six o'clock in the evening. But ");
    call.advance(6000);
    assert_eq!(call.spoken(), ["We close at six o'clock in the evening."]);
}

#[test]
fn a_voice_that_was_just_asked_may_bring_the_answer_itself() {
    let mut call = Call::asked(QUESTION);
    call.advance(2200);
    call.answers(0, "We close at six.");
    call.advance(5000);
    assert_eq!(call.spoken(), ["We close at six."]);

    let mut call = Call::asked(QUESTION);
    call.voice = None;
    call.advance(2200);
    call.answers(0, "We close at six.");
    call.advance(499);
    assert_eq!(call.spoken(), ["We close at six."]);
    call.advance(1);
    assert_eq!(call.spoken(), [MOMENT], "but not for long");
}

#[test]
fn it_is_said_before_what_the_voice_has_not_begun() {
    let mut call = Call::asked(QUESTION);
    (call.voice, call.clips) = (None, true);
    call.advance(1000);
    call.answers(0, "We close at six.");
    call.advance(1500);
    assert_eq!(call.spoken(), ["We close at six.", MOMENT]);
    call.delivers(0, 500);
    call.spoke(0);
    call.advance(3000);
    let story = call.story();
    assert_eq!(
        story,
        [
            "agent stops",
            &format!("agent: {MOMENT}"),
            "agent starts",
            "agent stops",
            "agent: We close at six."
        ]
    );
    assert_eq!(call.history()[1..], [format!("agent: {MOMENT} We close at six.")]);
}

#[test]
fn an_answer_that_overtakes_it_is_said_without_it() {
    let mut call = Call::asked(QUESTION);
    call.voice = None;
    call.advance(2300);
    call.answers(0, "We close at six.");
    call.delivers(1, 500);
    call.spoke(1);
    assert!(!call.sent().is_empty(), "it does not wait for the filler");
    call.delivers(0, 500);
    call.spoke(0);
    call.advance(3000);
    assert_eq!(call.story().last().unwrap(), "agent: We close at six.");
    assert_eq!(call.history()[1..], ["agent: We close at six."]);
}

#[test]
fn one_that_cannot_be_spoken_holds_up_nothing() {
    let mut call = Call::asked(QUESTION);
    call.voice = None;
    call.advance(2300);
    call.voice_fails(0);
    call.advance(50);
    assert_eq!(call.spoken(), [MOMENT], "it is asked for once");
    call.fails(0);
    call.advance(300);
    call.voice = Some(Duration::from_millis(100));
    call.fails(1);
    call.advance(5000);
    assert_eq!(call.story().last().unwrap(), &format!("agent: {APOLOGY}"));

    // Nor does one that the voice is silent about.
    let mut call = Call::asked(QUESTION);
    call.voice = None;
    call.advance(2300);
    (call.clips, call.told) = (true, call.done.len());
    call.fails(0);
    call.advance(300);
    call.fails(1);
    call.advance(1);
    assert!(!call.sent().is_empty());
    call.advance(5000);
    assert_eq!(call.story().last().unwrap(), &format!("agent: {APOLOGY}"));
}

#[test]
fn a_voice_that_is_stuck_is_given_no_more_time_because_of_it() {
    let mut call = Call::asked(QUESTION);
    (call.voice, call.clips) = (None, true);
    call.advance(1000);
    call.answers(0, "We close at six.");
    call.advance(1999);
    assert_eq!(call.spoken(), ["We close at six.", MOMENT]);
    call.advance(1);
    assert_eq!(call.spoken(), ["We close at six."], "two seconds after it was asked");
}

#[test]
fn it_is_no_answer_so_a_turn_without_another_one_has_failed() {
    let mut call = Call::asked(QUESTION);
    for turn in 0..3 {
        call.advance(5000);
        let story = call.story();
        assert!(story.contains(&format!("agent: {MOMENT}")), "{story:?}");
        call.advance(10_000);
        let apology = if turn < 2 { APOLOGY } else { GOODBYE };
        assert_eq!(call.spoken().join(" "), apology);
        call.says(QUESTION);
    }
    assert_eq!(call.done.last().unwrap().1, Output::End { reason: EndedReason::Unknown });
}

#[test]
fn interrupting_it_does_not_make_up_for_failed_turns() {
    let mut call = Call::asked(QUESTION);
    for _ in 0..2 {
        call.advance(9000);
        call.says(QUESTION);
        call.advance(3000);
        call.says("Hello? Are you there?");
    }
    call.story();
    call.advance(9000);
    assert_eq!(call.spoken()[1..].join(" "), GOODBYE);
}

#[test]
fn a_late_final_restarts_the_generation_if_only_the_hold_phrase_was_heard() {
    let mut call = waiting(2000 - 400);
    call.story();
    call.feed(Input::Transcript { text: "on Sunday?".into(), is_final: true, spoken_until: Some(ms(10)) });
    assert_eq!(call.story(), ["user starts", "cancel ask 0", "user stops", "user: on Sunday?", "ask 1"]);
    assert_eq!(
        call.history(),
        [format!("user: {QUESTION}"), format!("agent: {MOMENT}"), "user: on Sunday?".into()]
    );
    call.advance(3900);
    assert_eq!(call.spoken(), [""; 0], "nobody is asked for patience twice, who said nothing since");
}

#[test]
fn wrong_words_are_retracted_across_the_hold_phrase() {
    let mut call = Call::begun();
    call.guesses("two kicks");
    call.feed(Input::TurnEnded);
    call.advance(3900);
    call.hears("Two cakes.");
    assert_eq!(call.history(), [format!("agent: {MOMENT}"), "user: Two cakes.".into()]);
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
            "cancel ask 0",
            "agent stops",
            "agent, cut off: One moment,",
            "user stops",
            "user: Hello? Is it you?",
            "ask 1"
        ]
    );
    call.advance(2300);
    assert_eq!(call.spoken(), [MOMENT], "who speaks again waits again");
}

#[test]
fn two_hundred_milliseconds_of_speech_stop_it() {
    let mut call = waiting(100 + 200);
    call.story();
    call.sounds(200, -15);
    assert_eq!(call.story()[0], "clear");
    call.advance(5000);
    assert!(call.story().contains(&format!("agent: {MOMENT}")), "it was a cough");
}

#[test]
fn an_okay_to_it_is_no_turn() {
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
fn a_hold_phrase_does_not_shorten_the_measured_wait() {
    let mut call = waiting(1600);
    call.answers(0, "We close at six.");
    call.advance(3000);
    let latencies: Vec<_> = call
        .happened()
        .filter_map(|(_, event)| match event {
            ConversationEvent::MessageSent { role: Role::Agent, latency, .. } => Some(*latency),
            _ => None,
        })
        .collect();
    let latency = Latency { transcript_ms: 0, model_ms: 3900, voice_ms: 100, send_ms: 0 };
    assert_eq!(latencies, [None, Some(latency)]);
}

#[test]
fn it_is_said_while_tools_run() {
    let mut call = Call::asked("Is there a table?");
    call.calls(0, "a");
    call.finishes(0);
    call.story();
    call.advance(4000);
    assert_eq!(call.spoken(), [MOMENT]);
    assert_eq!(call.history()[1..], ["calls a", &format!("a = {}", super::super::history::UNANSWERED)]);
    call.tool_answers("a", "yes");
    call.answers(1, "There is a table.");
    call.advance(4000);
    assert_eq!(call.history()[2..], ["a = yes", &format!("agent: {MOMENT} There is a table.")]);
}

#[test]
fn after_the_agent_has_spoken_the_wait_begins_anew() {
    let mut call = Call::asked("Is there a table?");
    call.writes(0, "Let me have a look.");
    call.calls(0, "a");
    call.finishes(0);
    // It plays from 100 to 1,050 ms.
    call.advance(1050 + 2299);
    assert_eq!(call.spoken(), ["Let me have a look."]);
    call.advance(1);
    assert_eq!(call.spoken(), [MOMENT]);
}

#[test]
fn it_is_not_said_while_the_caller_makes_a_sound() {
    let mut call = Call::asked(QUESTION);
    call.advance(2000);
    call.sounds(1000, -15);
    assert_eq!(call.spoken(), [""; 0]);
    call.advance(300);
    assert_eq!(call.spoken(), [MOMENT]);

    let mut call = Call::asked(QUESTION);
    call.advance(2000);
    call.sounds(4000, -15);
    assert_eq!(call.spoken(), [MOMENT], "but a sound that goes on is no speech");
}

#[test]
fn no_hold_phrase_is_said_without_a_waiting_caller() {
    let mut call = Call::new(Some("Hello, this is Ada."));
    call.voice = None;
    call.feed(Input::MediaStarted);
    call.advance(10_000);
    assert!(!call.spoken().contains(&MOMENT.to_owned()), "a greeting");

    let mut call = Call::begun();
    call.advance(15_000);
    assert_eq!(call.story(), ["ask 0"]);
    call.advance(3900);
    assert_eq!(call.spoken(), [""; 0], "a reminder");

    let mut call = Call::asked(QUESTION);
    call.voice = None;
    call.answers(0, "Goodbye to you.");
    call.feed(Input::HangUp);
    call.advance(4000);
    assert_eq!(call.spoken(), ["Goodbye to you.", "Goodbye to you."], "an agent that ends the conversation");
}

#[test]
fn a_turn_that_ended_late_is_not_left_in_silence() {
    let mut call = Call::begun();
    call.guesses("five five");
    call.advance(3000);
    assert_eq!(call.story()[3..], ["ask 0", &format!("speak 0: {MOMENT}")]);
}

#[test]
fn the_next_worker_answers_after_a_hold_phrase() {
    let mut call = waiting(100 + 700);
    assert_eq!(
        call.engine.in_progress(call.now),
        Some(UtteranceInProgress {
            heard: "One moment,".into(),
            unheard: String::new(),
            started_at: ms(2400),
            kind: UtteranceKind::HoldPhrase,
        }),
        "nothing of the answer is lost"
    );
    call.feed(Input::Drain);
    call.advance(500);
    assert_eq!(call.story().last().unwrap(), "hand over");
    for heard in [MOMENT, "One moment,"] {
        let held = HistoryItem::Agent { text: heard.into(), kind: UtteranceKind::HoldPhrase };
        let mut call = takeover(vec![HistoryItem::User(QUESTION.into()), held], None);
        assert_eq!(call.story(), ["ask 0"]);
        call.answers(0, "We close at six.");
        call.advance(3000);
        assert_eq!(call.history()[1..], [format!("agent: {heard} We close at six.")]);
    }
}

#[test]
fn an_answer_that_waits_behind_it_is_given_anew_by_the_next_worker() {
    let mut call = waiting(100 + 300);
    call.answers(0, "We close at six.");
    call.feed(Input::Drain);
    call.advance(500);
    assert_eq!(call.story().last().unwrap(), "hand over");
    assert_eq!(call.history().last().unwrap(), &format!("user: {QUESTION}"));
}

#[test]
fn it_is_said_in_the_callers_language() {
    let mut engine = Engine::new(Settings { language: "de-AT".into(), ..Settings::default() });
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
