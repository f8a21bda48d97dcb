//! Sounds without words: coughing, a crying child, a transcriber that changes its mind.

use super::*;

/// 58 characters: they play for 2,900 ms.
const ANSWER: &str = "On Saturdays we close at six in the afternoon, as we always do";

fn counted(story: &[String], beginning: &str) -> usize {
    story.iter().filter(|line| line.starts_with(beginning)).count()
}

#[test]
fn after_two_false_interruptions_the_agent_speaks_on() {
    let mut call = Call::asked("When do you close?");
    call.answers(0, ANSWER);
    call.advance(200);
    for _ in 0..12 {
        call.speaks(300);
        call.is_quiet(700);
    }
    call.advance(3_000);
    let story = call.story();
    assert_eq!(counted(&story, "clear"), 2, "{story:?}");
    assert!(story.contains(&format!("agent: {ANSWER}")), "all of it was heard: {story:?}");
}

#[test]
fn words_still_interrupt_an_agent_that_speaks_on() {
    let mut call = Call::asked("When do you close?");
    call.answers(0, &format!("{ANSWER}, {ANSWER}, {ANSWER}"));
    call.advance(200);
    for _ in 0..9 {
        call.speaks(300);
        call.is_quiet(700);
    }
    call.story();
    call.speaks(300);
    assert_eq!(call.story(), [""; 0], "sound does not");
    call.says("And on Sunday?");
    call.advance(2_000);
    let story = call.story();
    assert!(story.contains(&"clear".to_owned()) && story.contains(&"generate 1".to_owned()), "{story:?}");
}

#[test]
fn a_false_interruption_is_forgotten_after_a_while() {
    let mut call = Call::asked("When do you close?");
    call.answers(0, &ANSWER.repeat(12));
    call.advance(200);
    for _ in 0..4 {
        call.speaks(300);
        call.is_quiet(12_000);
    }
    assert_eq!(counted(&call.story(), "clear"), 4);
}

#[test]
fn fits_of_coughing_are_asked_about_once_and_never_end_the_call() {
    let mut call = Call::asked("Hold on, please");
    call.answers(0, "Sure.");
    call.advance(3_000);
    call.story();
    for fit in 0..4 {
        call.speaks(1_000);
        call.advance(3_000);
        let asked = call.synthesized().join(" ");
        assert_eq!(asked, if fit == 0 { APOLOGY } else { "" }, "fit {fit}");
    }
    call.says("Sorry, I had to cough.");
    let story = call.story();
    assert_eq!(story.last().unwrap(), "generate 1", "{story:?}");
    call.answers(1, "No problem.");
    call.advance(3_000);
    call.story();
    call.speaks(1_000);
    call.advance(4_000);
    assert_eq!(call.synthesized().join(" "), APOLOGY, "after words it is asked once more");
}

#[test]
fn a_caller_of_whom_only_sounds_come_is_asked_whether_they_are_there() {
    let mut call = Call::asked("Hold on, please");
    call.answers(0, "Sure.");
    call.advance(3_000);
    call.story();
    let mut story = vec![];
    for _ in 0..12 {
        call.speaks(1_000);
        call.advance(2_000);
        story.extend(call.story());
    }
    assert!(story.iter().any(|line| line.starts_with("generate")), "the reminder: {story:?}");
}

#[test]
fn a_caller_who_answers_the_telephone_hears_who_calls() {
    let greeting = "Hello, this is Ada from the corner bakery.";
    let mut call = Call::new(Some(greeting));
    call.feed(Input::MediaStarted);
    call.advance(300);
    call.speaks(300);
    call.says("Hello?");
    call.advance(5_000);
    let story = call.story();
    assert!(story.contains(&format!("agent: {greeting}")), "{story:?}");
    assert_eq!(counted(&story, "generate"), 0, "{story:?}");
    call.says("Hello?");
    assert_eq!(call.story().last().unwrap(), "generate 0", "afterwards it is a question");
}

#[test]
fn a_question_interrupts_the_greeting() {
    let mut call = Call::new(Some("Hello, this is Ada from the corner bakery."));
    call.feed(Input::MediaStarted);
    call.advance(800);
    call.says("Hello, who is this?");
    assert_eq!(call.story().last().unwrap(), "generate 0");
}

#[test]
fn withdrawn_words_are_not_replied_to_and_the_agent_goes_on() {
    let mut call = Call::asked("When do you close?");
    call.answers(0, ANSWER);
    call.advance(1_200);
    call.story();
    call.transcribes_interim("What");
    let story = call.story();
    assert!(story.contains(&"clear".to_owned()), "{story:?}");
    call.feed(Input::TranscriptWithdrawn);
    call.advance(5_000);
    let story = call.story();
    assert!(!story.iter().any(|line| line.starts_with("user:")), "{story:?}");
    assert!(
        story.last().unwrap().starts_with("agent: ") && story.last().unwrap().ends_with("always do"),
        "{story:?}"
    );
    assert_eq!(counted(&story, "generate"), 0, "{story:?}");
}

#[test]
fn words_before_withdrawn_ones_stay() {
    let mut call = Call::begun();
    call.transcribes("When do you close");
    call.transcribes_interim("what");
    call.feed(Input::TranscriptWithdrawn);
    call.feed(Input::TurnEnded);
    call.advance(1_000);
    assert!(call.story().contains(&"user: When do you close".to_owned()));
}

#[test]
fn words_withdrawn_later_do_not_bring_back_what_an_answered_turn_interrupted() {
    let mut call = Call::asked("When do you close?");
    call.answers(0, ANSWER);
    call.advance(1_200);
    call.says("And on Sunday?");
    call.answers(1, "We are closed.");
    call.advance(3_000);
    call.story();
    call.transcribes_interim("What");
    call.feed(Input::TranscriptWithdrawn);
    call.advance(5_000);
    assert_eq!(call.synthesized(), [""; 0]);
}

#[test]
fn a_reply_that_withdrawn_words_interrupted_before_its_first_word_is_generated_again() {
    let mut call = Call::asked("When do you close?");
    call.transcribes_interim("um what");
    assert!(call.story().contains(&"cancel generation 0".to_owned()));
    call.feed(Input::TranscriptWithdrawn);
    assert_eq!(call.story(), ["user stops", "generate 1"]);
    call.answers(1, "At six.");
    call.advance(3_000);
    assert!(call.story().contains(&"agent: At six.".to_owned()));
    assert_eq!(call.history(), ["user: When do you close?", "agent: At six."]);
}

#[test]
fn the_model_goes_on_with_a_reply_that_withdrawn_words_cut_short() {
    let mut call = Call::asked("When do you close?");
    call.writes(0, &format!("{ANSWER}. We open at"));
    call.advance(1_200);
    call.story();
    call.transcribes_interim("What");
    call.feed(Input::TranscriptWithdrawn);
    call.advance(1_000);
    let story = call.story();
    assert!(story.contains(&"generate 1".to_owned()), "{story:?}");
    assert_eq!(call.history().last().unwrap(), "note", "it is told to go on: {:?}", call.history());
    call.answers(1, "We open at eight.");
    call.advance(6_000);
    let said: Vec<_> = call.story().into_iter().filter(|line| line.starts_with("agent: ")).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].ends_with("always do."), "{said:?}");
    assert_eq!(said[1], "agent: We open at eight.");
}

#[test]
fn a_function_that_runs_while_words_are_withdrawn_is_waited_for() {
    let mut call = Call::asked("When do you close?");
    call.calls(0, "hours");
    call.finishes(0);
    call.transcribes_interim("What");
    call.feed(Input::TranscriptWithdrawn);
    call.advance(2_000);
    assert!(!call.story().contains(&"generate 1".to_owned()));
    call.tool_returns("hours", "six");
    assert_eq!(call.story().last().unwrap(), "generate 1");
}

#[test]
fn a_function_that_returns_before_words_are_withdrawn_is_reported() {
    let mut call = Call::asked("When do you close?");
    call.calls(0, "hours");
    call.finishes(0);
    call.transcribes_interim("What");
    call.tool_returns("hours", "six");
    assert!(!call.story().contains(&"generate 1".to_owned()));
    call.feed(Input::TranscriptWithdrawn);
    assert_eq!(call.story().last().unwrap(), "generate 1");
}

#[test]
fn words_that_the_previous_worker_left_survive_withdrawn_ones() {
    let takeover = Takeover {
        history: vec![HistoryItem::User("When?".into()), HistoryItem::agent("We close")],
        unspoken: Some("at six.".into()),
        ..Takeover::default()
    };
    let mut call = Call::with(EngineSettings { takeover: Some(takeover), ..EngineSettings::default() });
    call.feed(Input::MediaStarted);
    call.transcribes_interim("What");
    call.advance(500);
    call.feed(Input::TranscriptWithdrawn);
    call.advance(3_000);
    assert_eq!(call.synthesized(), ["at six."]);
}

#[test]
fn a_key_press_is_no_withdrawal() {
    let mut call = Call::asked("When do you close?");
    call.answers(0, ANSWER);
    call.advance(1_200);
    call.story();
    call.feed(Input::Dtmf('1'));
    call.transcribes_interim("What");
    call.feed(Input::TranscriptWithdrawn);
    call.advance(1_500);
    assert_eq!(call.synthesized(), [""; 0]);
}
