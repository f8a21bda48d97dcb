//! The promise to the caller: after any failure of any provider they hear something sensible within three seconds of
//! the end of their speech. The fixed phrases exist as clips.

use proptest::prelude::*;

use super::*;

const ANSWER: &str = "We close at six.";

/// When the caller stops speaking, in ms.
const SPOKEN: u64 = 1500;

/// A call in which the caller has spoken, and the transcriber has delivered nothing yet.
fn speaking() -> Call {
    let mut call = Call::begun();
    call.clips = true;
    call.speaks(SPOKEN);
    call
}

/// A call in which the transcriber took a usual 400 ms for the words, and generation 0 is running.
fn asked() -> Call {
    let mut call = speaking();
    call.advance(400);
    let text = "When do you close?".to_owned();
    call.feed(Input::Transcript { text, is_final: true, spoken_until: Some(ms(SPOKEN - 20)) });
    call.feed(Input::TurnEnded);
    assert_eq!(call.story().last().unwrap(), "generate 0");
    call
}

/// Asserts that the first audio comes within three seconds of the end of the caller's speech, and belongs to `text`.
#[track_caller]
fn assert_hears(mut call: Call, text: &str) {
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
fn a_silent_model_gets_a_hold_phrase() {
    assert_hears(asked(), HOLD_PHRASE);
}

#[test]
fn a_model_that_fails_twice_gets_an_apology() {
    let mut call = asked();
    call.fails(0);
    call.advance(500);
    call.fails(1);
    assert_hears(call, APOLOGY);
}

#[test]
fn a_model_that_fails_once_still_replies() {
    let mut call = asked();
    call.fails(0);
    call.advance(500);
    call.answers(1, ANSWER);
    assert_hears(call, ANSWER);
}

#[test]
fn a_model_that_stalls_in_its_first_words_gets_a_hold_phrase() {
    let mut call = asked();
    call.writes(0, "We cl");
    assert_hears(call, HOLD_PHRASE);
}

#[test]
fn a_model_that_fails_after_a_sentence_says_that_sentence() {
    let mut call = asked();
    call.writes(0, "We close at six. But ");
    call.fails(0);
    assert_hears(call, ANSWER);
}

#[test]
fn a_tool_that_does_not_return_gets_a_hold_phrase() {
    let mut call = asked();
    call.calls(0, "a");
    call.finishes(0);
    assert_hears(call, HOLD_PHRASE);
}

#[test]
fn a_silent_synthesizer_gets_a_hold_phrase() {
    let mut call = asked();
    call.voice = None;
    call.advance(600);
    call.answers(0, ANSWER);
    assert_hears(call, HOLD_PHRASE);
}

#[test]
fn a_synthesizer_that_fails_gets_an_apology() {
    let mut call = asked();
    call.voice = None;
    call.answers(0, ANSWER);
    call.voice_fails(0);
    call.advance(200);
    call.voice_fails(1);
    assert_hears(call, APOLOGY);
}

#[test]
fn a_synthesizer_that_stalls_says_its_beginning() {
    let mut call = asked();
    call.voice = None;
    call.answers(0, ANSWER);
    call.advance(500);
    call.delivers(0, 300);
    assert_hears(call, ANSWER);
}

#[test]
fn a_silent_transcriber_gets_an_apology() {
    assert_hears(speaking(), APOLOGY);
}

#[test]
fn a_transcriber_that_only_detects_speech_gets_an_apology() {
    let mut call = Call::begun();
    call.clips = true;
    call.advance(20);
    call.feed(Input::SpeechStarted);
    call.speaks(SPOKEN - 20);
    assert_hears(call, APOLOGY);
}

#[test]
fn a_transcriber_that_fails_gets_an_apology() {
    let mut call = speaking();
    call.feed(Input::TranscriberFailed);
    assert_hears(call, APOLOGY);
}

#[test]
fn a_transcriber_that_stalls_after_some_words_gets_a_hold_phrase() {
    let mut call = Call::begun();
    call.clips = true;
    call.speaks(SPOKEN - 600);
    call.transcribes_interim("when do");
    call.speaks(600);
    assert_hears(call, HOLD_PHRASE);
}

#[test]
fn a_lost_transcriber_gets_a_goodbye() {
    let mut call = speaking();
    call.feed(Input::TranscriberLost);
    assert_hears(call, GOODBYE);
}

/// Any input of a model, a function, a synthesizer or a transcriber, with one of the first few ids.
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
    fn no_provider_leaves_the_caller_in_silence_for_three_seconds(
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
