//! Each way in which a model or a voice fails: the caller hears something, the call goes on, and the log
//! names who it was.

use switchboard_model::messages::Role;

use crate::world::{Answer, FAST, Hoarse, Phone, World, quiet};

/// Two questions, with a fault in the answer to the first.
async fn is_survived(answer: Option<Answer>, hoarse: Option<Hoarse>, note: &str) {
    let world = World::new(quiet(), FAST).await;
    let worker = world.worker().await;
    let _phone = Phone::connect(worker.address).await;
    world.started().await;
    for answer in answer.into_iter().chain([Answer::Words("At six in the evening.")]) {
        world.vendors.answer_with(answer);
    }
    if let Some(hoarse) = hoarse {
        world.vendors.go_hoarse(hoarse);
    }
    world.vendors.hear("What time do you close?").await;
    let said = |messages: &[switchboard_model::messages::Message]| {
        let said = messages.iter().filter(|message| message.role == Role::Agent);
        said.map(|message| message.content.clone()).collect::<Vec<_>>()
    };
    let mut count = 2;
    let mut messages = world.until_messages(count).await;
    while !said(&messages).iter().any(|words| words.starts_with("At six")) {
        count += 1;
        messages = world.until_messages(count).await;
    }

    world.vendors.answer_with(Answer::Words("On Sunday we are closed."));
    world.vendors.hear("And on Sunday?").await;
    while said(&messages).last().is_none_or(|words| words != "On Sunday we are closed.") {
        count += 1;
        messages = world.until_messages(count).await;
    }
    let notes = world.notes().await;
    let named = notes.iter().filter(|known| known.starts_with(note)).count();
    assert_eq!(named, 1, "{notes:?}");
    assert!(notes.iter().all(|note| !note.contains("six")), "not what was said: {notes:?}");
}

#[tokio::test]
async fn a_model_that_refuses_once_is_asked_again() {
    is_survived(Some(Answer::Failure), None, "language model openai: error (500)").await;
}

#[tokio::test]
async fn a_model_that_has_been_asked_too_often_is_asked_again() {
    is_survived(Some(Answer::Busy), None, "language model openai: error (429)").await;
}

#[tokio::test]
async fn a_model_that_says_nothing_is_asked_again() {
    is_survived(Some(Answer::Silence), None, "language model openai: ").await;
}

#[tokio::test]
async fn a_model_whose_answer_breaks_off_is_asked_again() {
    is_survived(Some(Answer::Broken("We")), None, "language model openai: the connection was lost").await;
}

#[tokio::test]
async fn a_model_that_stalls_in_its_answer_is_asked_again() {
    is_survived(Some(Answer::Stalled("We")), None, "language model openai: ").await;
}

#[tokio::test]
async fn a_voice_that_refuses_once_is_asked_again() {
    is_survived(None, Some(Hoarse::Refused), "voice deepgram: 503").await;
}

#[tokio::test]
async fn a_voice_that_has_been_asked_too_often_is_asked_again() {
    is_survived(None, Some(Hoarse::Busy), "voice deepgram: 429").await;
}

#[tokio::test]
async fn a_voice_that_says_nothing_is_asked_again() {
    is_survived(None, Some(Hoarse::Silent), "voice deepgram: ").await;
}

#[tokio::test]
async fn a_voice_that_breaks_off_is_asked_again() {
    is_survived(None, Some(Hoarse::Broken), "voice deepgram: ").await;
}

#[tokio::test]
async fn a_voice_that_stalls_is_asked_again() {
    is_survived(None, Some(Hoarse::Stalled), "voice deepgram: ").await;
}
