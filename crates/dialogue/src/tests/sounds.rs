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
