//! Synthesizing and sending the agent's words.

use super::*;

const LONG: &str = "We have fresh bread every day. We have cakes on Saturday. We have rolls in the morning. \
                    We have tea in the evening.";

#[test]
fn clauses_are_synthesized_while_the_model_writes_two_ahead() {
    let mut call = Call::asked("What do you have?");
    call.voice = None;
    call.writes(0, "We have fresh");
    assert_eq!(call.story(), [""; 0]);
    call.writes(0, " bread every day. We have cakes on Saturday. We have rolls in the morning. We");
    assert_eq!(
        call.story(),
        ["synthesize 0: We have fresh bread every day.", "synthesize 1: We have cakes on Saturday."]
    );
    call.delivers(0, 100);
    assert_eq!(call.story(), ["synthesize 2: We have rolls in the morning.", "agent starts"]);
    call.writes(0, " have tea in the evening. And");
    call.completes(0);
    call.advance(500);
    assert_eq!(call.story(), [""; 0], "two clauses are ahead");
    call.delivers(1, 100);
    assert_eq!(call.story(), ["synthesize 3: We have tea in the evening."]);
}

#[test]
fn audio_goes_out_in_frames_and_at_most_400_ms_ahead() {
    let mut call = Call::asked("What do you have?");
    call.voice = None;
    call.answers(0, "Bread and cake.");
    call.delivers(0, 500);
    call.completes(0);
    call.advance(1000);
    // 400 ms at once, then a frame every 20 ms until all is sent.
    assert_eq!(call.sent(), [(0, 400.0), (20, 20.0), (40, 20.0), (60, 20.0), (80, 20.0), (100, 20.0)]);

    let mut call = Call::asked("What do you have?");
    call.voice = None;
    call.answers(0, "Bread and cake.");
    for _ in 0..3 {
        call.feed(Input::VoiceAudio { clause: ClauseId(0), audio: Duration::from_micros(12_500) });
    }
    call.completes(0);
    assert_eq!(call.sent(), [(0, 20.0), (0, 17.5)], "all frames but the last one are whole");
}

#[test]
fn a_late_worker_sends_several_frames_at_once() {
    let mut call = Call::asked("What do you have?");
    call.voice = None;
    call.answers(0, "Bread and cake.");
    call.delivers(0, 5000);
    call.now = ms(70);
    call.feed(Input::Wake);
    assert_eq!(call.sent(), [(0, 400.0), (70, 60.0)]);
    assert_eq!(call.engine.deadline(), Some(ms(80)));
    call.now = ms(10_000);
    call.feed(Input::Wake);
    assert_eq!(call.sent()[2..], [(10_000, 400.0)], "never more than 400 ms ahead");
}

#[test]
fn only_the_seconds_have_a_deadline_while_nothing_is_to_be_sent() {
    let mut call = Call::asked("What do you have?");
    call.voice = None;
    call.answers(0, "Bread and cake.");
    call.delivers(0, 300);
    call.advance(100);
    assert_eq!(call.engine.deadline(), Some(ms(1000)), "the next second of the conversation");
}

#[test]
fn a_message_ends_with_its_last_mark_but_not_before_it_can_have_played() {
    let mut call = Call::asked("What do you have?");
    call.carrier = None;
    call.answers(0, "Bread and cake.");
    call.advance(150);
    // 15 characters play for 750 ms, from 100 ms on.
    call.advance(500);
    let mark = Mark { clears: 0, number: 0 };
    assert!(call.done.iter().any(|(at, output)| *output == Output::Mark(mark) && *at == ms(450)));
    call.feed(Input::Played { mark });
    call.feed(Input::Played { mark: Mark { clears: 0, number: 99 } });
    call.feed(Input::Played { mark: Mark { clears: 7, number: 0 } });
    assert!(!call.story().contains(&"agent stops".to_owned()));
    call.advance(200);
    assert_eq!(call.story(), ["agent stops", "agent: Bread and cake."]);
}

#[test]
fn a_missing_mark_is_waited_for_two_seconds() {
    let mut call = Call::asked("What do you have?");
    call.carrier = None;
    call.answers(0, "Bread and cake.");
    call.advance(2849);
    assert!(!call.story().contains(&"agent stops".to_owned()));
    call.advance(1);
    assert_eq!(call.story(), ["agent stops", "agent: Bread and cake."]);
}

#[test]
fn each_clause_is_followed_by_a_mark() {
    let mut call = Call::asked("What do you have?");
    call.answers(0, LONG);
    call.advance(10_000);
    assert_eq!(call.marks(), [(0, 0), (0, 1), (0, 2), (0, 3)]);
    assert_eq!(call.history()[1], format!("agent: {LONG}"));
}

#[test]
fn text_that_cannot_be_said_is_not_synthesized() {
    let mut call = Call::asked("What do you have?");
    call.answers(0, "**Bread** and cake. \u{1f370}\u{1f370}\u{1f370}\u{1f370}\n\n---\n\n");
    call.advance(3000);
    let story = call.story();
    assert_eq!(story[0], "synthesize 0: Bread and cake.");
    assert_eq!(story.iter().filter(|line| line.starts_with("synthesize")).count(), 1);
    assert_eq!(story.last().unwrap(), "agent: Bread and cake.");
}

#[test]
fn a_synthesizer_slower_than_speech_makes_pauses_but_loses_nothing() {
    let mut call = Call::asked("What do you have?");
    call.voice = None;
    call.answers(0, "Bread and cake.");
    for _ in 0..5 {
        call.delivers(0, 100);
        call.advance(300);
    }
    call.completes(0);
    call.advance(500);
    let sent_ms: f64 = call.sent().iter().map(|(_, ms)| ms).sum();
    assert!((sent_ms - 500.0).abs() < f64::EPSILON, "{sent_ms}");
    assert_eq!(call.story().last().unwrap(), "agent: Bread and cake.");
    let times = call.messages().last().map(|(_, started, ended)| (*started, *ended));
    assert_eq!(times, Some((0, 1500)), "the mark followed the last audio");
}

#[test]
fn inputs_of_unknown_clauses_and_generations_are_ignored() {
    let mut call = Call::asked("What do you have?");
    call.writes(7, "This is not an answer to anything. ");
    call.finishes(7);
    call.fails(7);
    call.calls(7, "a");
    call.delivers(7, 100);
    call.completes(7);
    call.voice_fails(7);
    call.tool_returns("a", "{}");
    assert_eq!(call.story(), [""; 0]);
}

#[test]
fn the_next_clause_is_synthesized_while_one_plays() {
    let mut call = Call::asked("What do you have?");
    call.answers(0, "We have fresh bread every day. We have cakes on Saturday.");
    call.advance(10_000);
    let at = |is: fn(&Output) -> bool| call.done.iter().find(|(_, output)| is(output)).unwrap().0;
    let asked = at(|output| matches!(output, Output::Synthesize { clause: ClauseId(1), .. }));
    let first = at(|output| matches!(output, Output::Send { clause: ClauseId(0), .. }));
    let second = at(|output| matches!(output, Output::Send { clause: ClauseId(1), .. }));
    // The first clause has 30 characters; the frame behind it ends within 400 ms, so there is no pause.
    assert!(asked <= first);
    assert_eq!(second.since(first), Duration::from_millis(30 * 50 + 20 - 400));
}

#[test]
fn the_first_clause_is_synthesized_as_early_as_possible() {
    let mut call = Call::asked("What do you have?");
    call.writes(0, "On Saturday we close at six, in the evening. Then");
    assert_eq!(call.story(), ["synthesize 0: On Saturday we close at six,", "synthesize 1: in the evening."]);
}

#[test]
fn a_number_an_abbreviation_or_an_address_is_not_cut() {
    let text =
        "Dr. Who pays 3.50 euros, e.g. on Sundays. Write to ada@example.com or to No. 5 please. Thank you.";
    let mut call = Call::asked("What do you have?");
    for letter in text.chars() {
        call.writes(0, &letter.to_string());
    }
    call.finishes(0);
    call.advance(10_000);
    assert_eq!(
        call.synthesized(),
        [
            "Dr. Who pays 3.50 euros,",
            "e.g. on Sundays.",
            "Write to ada@example.com or to No. 5 please.",
            "Thank you."
        ]
    );
}

#[test]
fn a_text_is_synthesized_in_its_clauses() {
    let text = "**Hello**, this is Ada. \u{1f370} Do you have any questions? I am here.";
    let mut call = Call::new(Some(text));
    call.feed(Input::MediaStarted);
    call.advance(10_000);
    assert_eq!(call.synthesized(), clauses(text));
}
