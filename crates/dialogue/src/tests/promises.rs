//! After any failure of any provider, the caller hears something sensible within three seconds of the end of
//! their speech. The fixed phrases exist as clips.

use proptest::prelude::*;

use super::*;

const ANSWER: &str = "We close at six.";

/// When the caller has finished speaking.
const SPOKEN: u64 = 1500;

/// A call in which the caller says something that voice activity detection detects.
fn speaking() -> Call {
    let mut call = Call::begun();
    call.clips = true;
    call.speaks(SPOKEN);
    call
}

/// A call in which it was understood as fast as transcribers do, and the model is working on generation 0.
fn asked() -> Call {
    let mut call = speaking();
    call.advance(400);
    let text = "When do you close?".to_owned();
    call.feed(Input::Transcript { text, is_final: true, spoken_until: Some(ms(SPOKEN - 20)) });
    call.feed(Input::TurnEnded);
    assert_eq!(call.story().last().unwrap(), "ask 0");
    call
}

/// Something of it is sent within three seconds of the end of the caller's speech.
#[track_caller]
fn hears(mut call: Call, text: &str) {
    let until = ms(SPOKEN + 3000);
    call.advance(until.since(call.now).as_millis().try_into().unwrap());
    let (at, _) = *call.sent().first().expect("silence");
    assert!(ms(at) <= until);
    let first = call.done.iter().find_map(|(_, output)| match output {
        Output::Send { clause, .. } => Some(*clause),
        _ => None,
    });
    let said = call.done.iter().find_map(|(_, output)| match output {
        Output::Synthesize { clause, text } if Some(*clause) == first => Some(text.clone()),
        _ => None,
    });
    assert!(text.starts_with(&said.unwrap()));
}

#[test]
fn a_model_that_says_nothing_is_filled_in_for() {
    hears(asked(), MOMENT);
}

#[test]
fn a_model_that_refuses_twice_is_apologised_for() {
    let mut call = asked();
    call.fails(0);
    call.advance(500);
    call.fails(1);
    hears(call, APOLOGY);
}

#[test]
fn a_model_that_refuses_once_has_its_answer_heard() {
    let mut call = asked();
    call.fails(0);
    call.advance(500);
    call.answers(1, ANSWER);
    hears(call, ANSWER);
}

#[test]
fn a_model_that_stops_within_its_first_words_is_filled_in_for() {
    let mut call = asked();
    call.writes(0, "We cl");
    hears(call, MOMENT);
}

#[test]
fn a_model_that_breaks_off_after_a_sentence_has_it_heard() {
    let mut call = asked();
    call.writes(0, "We close at six. But ");
    call.fails(0);
    hears(call, ANSWER);
}

#[test]
fn a_tool_that_does_not_answer_is_filled_in_for() {
    let mut call = asked();
    call.calls(0, "a");
    call.finishes(0);
    hears(call, MOMENT);
}

#[test]
fn a_voice_that_says_nothing_is_filled_in_for() {
    let mut call = asked();
    call.voice = None;
    call.advance(600);
    call.answers(0, ANSWER);
    hears(call, MOMENT);
}

#[test]
fn a_voice_that_refuses_is_apologised_for() {
    let mut call = asked();
    call.voice = None;
    call.answers(0, ANSWER);
    call.voice_fails(0);
    call.advance(200);
    call.voice_fails(1);
    hears(call, APOLOGY);
}

#[test]
fn a_voice_that_stops_in_the_middle_has_its_beginning_heard() {
    let mut call = asked();
    call.voice = None;
    call.answers(0, ANSWER);
    call.advance(500);
    call.delivers(0, 300);
    hears(call, ANSWER);
}

#[test]
fn a_silent_transcriber_is_apologised_for() {
    hears(speaking(), APOLOGY);
}

#[test]
fn a_transcriber_that_only_notices_speech_is_apologised_for() {
    let mut call = Call::begun();
    call.clips = true;
    call.advance(20);
    call.feed(Input::SpeechStarted);
    call.speaks(SPOKEN - 20);
    hears(call, APOLOGY);
}

#[test]
fn a_transcriber_that_breaks_is_apologised_for() {
    let mut call = speaking();
    call.feed(Input::TranscriberFailed);
    hears(call, APOLOGY);
}

#[test]
fn a_transcriber_that_falls_silent_after_some_words_is_filled_in_for() {
    let mut call = Call::begun();
    call.clips = true;
    call.speaks(SPOKEN - 600);
    call.guesses("when do");
    call.speaks(600);
    hears(call, MOMENT);
}

#[test]
fn a_transcriber_that_is_gone_for_good_is_apologised_for() {
    let mut call = speaking();
    call.feed(Input::TranscriberLost);
    hears(call, GOODBYE);
}

/// Any input from a model, a tool, a voice or a transcriber, with the first few ids.
fn provider() -> impl Strategy<Value = Input> {
    let generation = (0u32..3).prop_map(GenerationId);
    let clause = (0u32..5).prop_map(ClauseId);
    let text =
        prop::sample::select(vec!["", "We cl", "We close at six. ", "...", "**"]).prop_map(str::to_owned);
    prop_oneof![
        3 => (generation.clone(), text).prop_map(|(generation, text)| Input::ModelText { generation, text }),
        1 => generation.clone().prop_map(|generation| Input::ModelToolCall { generation, call: tool("a") }),
        2 => generation.clone().prop_map(|generation| Input::ModelFinished { generation }),
        2 => generation.prop_map(|generation| Input::ModelFailed { generation }),
        2 => (clause.clone(), audio(400)).prop_map(|(clause, audio)| Input::VoiceAudio { clause, audio }),
        1 => clause.clone().prop_map(finished),
        2 => clause.prop_map(|clause| Input::VoiceFailed { clause }),
        1 => Just(Input::ToolResult { call: "a".into(), content: "{}".into() }),
        1 => Just(Input::TranscriberFailed),
        1 => Just(Input::TranscriberLost),
    ]
}

proptest! {
    #[test]
    fn whatever_the_providers_do_nobody_is_left_in_silence_for_three_seconds(
        inputs in prop::collection::vec((0u64..600, provider()), 0..20),
    ) {
        let mut call = asked();
        call.voice = None;
        let until = ms(SPOKEN + 3000);
        for (after, input) in inputs {
            let left = u64::try_from(until.since(call.now).as_millis()).unwrap();
            call.advance(after.min(left));
            call.feed(input);
        }
        call.advance(u64::try_from(until.since(call.now).as_millis()).unwrap());
        prop_assert!(!call.sent().is_empty(), "{:?}", call.story());
    }
}
