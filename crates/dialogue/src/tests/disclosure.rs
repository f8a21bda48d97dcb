//! The disclosure is said first, and to its end.

use super::*;

/// 29 characters: they play for 1,450 ms, from 100 ms on.
const DISCLOSURE: &str = "We record this telephone call";
const GREETING: &str = "Hello, how can I help you?";

fn settings() -> EngineSettings {
    EngineSettings {
        disclosure: Some(DISCLOSURE.into()),
        greeting: Some(GREETING.into()),
        ..EngineSettings::default()
    }
}

fn disclosing(settings: EngineSettings) -> Call {
    let mut call = Call::with(settings);
    call.feed(Input::MediaStarted);
    call.advance(500);
    assert!(has(&call.story(), &format!("synthesize 0: {DISCLOSURE}")));
    call
}

fn has(story: &[String], line: &str) -> bool {
    story.iter().any(|other| other == line)
}

#[test]
fn the_disclosure_precedes_the_greeting_and_is_a_message_of_its_own() {
    let mut call = disclosing(settings());
    call.advance(10_000);
    let story = call.story();
    let position = |line: &str| story.iter().position(|other| other == line);
    let (disclosed, greeted) = (format!("agent: {DISCLOSURE}"), format!("agent: {GREETING}"));
    assert!(position(&disclosed).unwrap() < position(&greeted).unwrap(), "{story:?}");
}

#[test]
fn neither_sound_nor_words_nor_keys_interrupt_it() {
    let mut call = disclosing(settings());
    call.sounds(400, -5);
    call.says("Stop, who is this?");
    call.feed(Input::Dtmf('1'));
    let story = call.story();
    assert!(!has(&story, "clear") && !story.iter().any(|line| line.starts_with("generate")), "{story:?}");
    call.advance(1_000);
    assert!(has(&call.story(), &format!("agent: {DISCLOSURE}")), "all of it is heard");
}

#[test]
fn words_said_meanwhile_are_replied_to_instead_of_greeting() {
    let mut call = disclosing(settings());
    call.says("Who is this?");
    call.advance(2_000);
    let story = call.story();
    assert!(has(&story, &format!("agent: {DISCLOSURE}")), "{story:?}");
    assert!(has(&story, "user: Who is this?") && has(&story, "generate 0"), "{story:?}");
    assert!(!has(&story, &format!("agent: {GREETING}")), "{story:?}");
}

#[test]
fn backchannel_meanwhile_does_not_stop_the_greeting() {
    let mut call = disclosing(settings());
    call.says("okay");
    call.advance(5_000);
    let story = call.story();
    assert!(has(&story, &format!("agent: {GREETING}")), "{story:?}");
    assert!(!story.iter().any(|line| line.starts_with("generate")), "{story:?}");
}

#[test]
fn the_greeting_can_be_interrupted() {
    let mut call = disclosing(settings());
    call.advance(1_500);
    call.story();
    call.says("Stop.");
    assert!(call.story().iter().any(|line| line.starts_with("generate")));
}

#[test]
fn a_takeover_says_it_again_before_what_was_left() {
    let takeover = Takeover {
        history: vec![HistoryItem::agent("We record")],
        unspoken: Some(GREETING.into()),
        ..Takeover::default()
    };
    let mut call = disclosing(EngineSettings { takeover: Some(takeover), ..settings() });
    call.advance(10_000);
    let story = call.story();
    let said: Vec<_> = story.iter().filter(|line| line.starts_with("agent: ")).collect();
    assert_eq!(said, [&format!("agent: {DISCLOSURE}"), &format!("agent: {GREETING}")]);
}

#[test]
fn a_takeover_replies_behind_it_to_a_caller_who_waits() {
    let takeover =
        Takeover { history: vec![HistoryItem::User("Who is this?".into())], ..Takeover::default() };
    let mut call = disclosing(EngineSettings { takeover: Some(takeover), ..settings() });
    call.advance(1_500);
    let mut story = call.story();
    call.answers(0, "It is Ada.");
    call.advance(10_000);
    story.extend(call.story());
    let said: Vec<_> = story.iter().filter(|line| line.starts_with("agent: ")).collect();
    assert_eq!(said, [&format!("agent: {DISCLOSURE}"), "agent: It is Ada."], "{story:?}");
}

#[test]
fn the_reply_behind_it_is_a_turn_of_its_own() {
    let takeover =
        Takeover { history: vec![HistoryItem::User("Who is this?".into())], ..Takeover::default() };
    let mut call = disclosing(EngineSettings { takeover: Some(takeover), ..settings() });
    call.advance(1_000);
    assert!(!call.story().iter().any(|line| line.starts_with("generate")), "it is not over");
    call.advance(200);
    assert_eq!(call.story().last().unwrap(), "generate 0");
    let asked_at = call.now;
    call.advance(400);
    call.answers(0, "It is Ada.");
    call.advance(3_000);
    let waits: Vec<_> = call
        .events()
        .filter_map(|(_, event)| match event {
            ConversationEvent::MessageSent { latency, .. } => latency.as_ref(),
            _ => None,
        })
        .map(|latency| latency.transcript_ms + latency.model_ms + latency.voice_ms + latency.send_ms)
        .collect();
    let [wait] = waits[..] else { panic!("{waits:?}") };
    assert!((400..=700).contains(&wait), "asked at {asked_at:?}: {wait}");
}

#[test]
fn a_reply_behind_it_without_any_audio_is_apologised_for() {
    let takeover =
        Takeover { history: vec![HistoryItem::User("Who is this?".into())], ..Takeover::default() };
    let mut call = disclosing(EngineSettings { takeover: Some(takeover), ..settings() });
    call.advance(1_300);
    call.fails(0);
    call.advance(400);
    call.fails(1);
    assert_eq!(call.synthesized().join(" "), APOLOGY);
}

#[test]
fn words_of_the_caller_during_it_join_those_that_wait() {
    let takeover = Takeover { history: vec![HistoryItem::User("Who is this".into())], ..Takeover::default() };
    let mut call = disclosing(EngineSettings { takeover: Some(takeover), ..settings() });
    call.says("and what do you want?");
    call.advance(3_000);
    let history = call.history();
    assert_eq!(history.last().unwrap(), "user: Who is this and what do you want?", "{history:?}");
    assert_eq!(call.story().iter().filter(|line| line.starts_with("generate")).count(), 1);
}

#[test]
fn nothing_is_generated_behind_it_in_a_call_that_ends() {
    let takeover =
        Takeover { history: vec![HistoryItem::User("Who is this?".into())], ..Takeover::default() };
    let mut call = disclosing(EngineSettings { takeover: Some(takeover), ..settings() });
    call.feed(Input::HangUp);
    call.advance(3_000);
    let story = call.story();
    assert_eq!(story.last().unwrap(), "end: AgentEnded", "{story:?}");
    assert!(!story.iter().any(|line| line.starts_with("generate")), "{story:?}");
}

#[test]
fn words_during_it_are_replied_to_once() {
    let takeover =
        Takeover { history: vec![HistoryItem::User("Who is this?".into())], ..Takeover::default() };
    let mut call = disclosing(EngineSettings { takeover: Some(takeover), ..settings() });
    call.says("And when do you close?");
    call.advance(1_500);
    // The model uses a function that outlasts the caller's interruption.
    call.calls(0, "hours");
    call.finishes(0);
    call.tool_returns("hours", "six");
    call.answers(1, "At six.");
    call.advance(3_000);
    let generated = call.done.iter().filter(|(_, output)| matches!(output, Output::StartGeneration { .. }));
    assert_eq!(generated.count(), 2, "the reply, and its use of the function");
}

#[test]
fn speech_of_the_caller_does_not_delay_it() {
    let mut call = Call::with(settings());
    call.feed(Input::MediaStarted);
    call.sounds(1_000, -15);
    let (first, _) = call.sent()[0];
    assert!(first <= 140, "{first}");
}
