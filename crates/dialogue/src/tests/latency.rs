//! The latency of the agent's replies.

use super::*;

fn latencies(call: &Call) -> Vec<Option<Latency>> {
    let agents = call.events().filter_map(|(_, event)| match event {
        ConversationEvent::MessageSent { role: Role::Agent, latency, .. } => Some(*latency),
        _ => None,
    });
    agents.collect()
}

#[test]
fn the_latency_is_split_by_stage() {
    let mut call = Call::begun();
    call.voice = None;
    call.advance(1000);
    call.feed(Input::Transcript { text: "Hello?".into(), is_final: true, spoken_until: Some(ms(700)) });
    call.advance(50);
    call.feed(Input::TurnEnded);
    call.advance(400);
    call.writes(0, "Good");
    call.advance(100);
    call.writes(0, " morning to you. ");
    call.finishes(0);
    call.advance(200);
    call.feed(Input::VoiceAudio { clause: ClauseId(0), audio: Duration::from_micros(12_500) });
    call.advance(30);
    call.feed(Input::VoiceAudio { clause: ClauseId(0), audio: Duration::from_millis(125) });
    call.completes(0);
    call.advance(2000);
    let latency = Latency { transcript_ms: 350, model_ms: 400, voice_ms: 300, send_ms: 30 };
    assert_eq!(latencies(&call), [Some(latency)]);
    assert_eq!(latency.response_ms(), call.sent()[0].0 - 700);
}

#[test]
fn without_times_of_words_latency_counts_from_the_last_transcript() {
    let mut call = Call::begun();
    call.transcribes("Two cakes and 5");
    call.advance(100);
    call.feed(Input::TurnEnded);
    call.advance(600);
    call.answers(0, "Two cakes it is.");
    call.advance(2000);
    let latency = Latency { transcript_ms: 600, model_ms: 100, voice_ms: 100, send_ms: 0 };
    assert_eq!(latencies(&call), [Some(latency)]);
}

#[test]
fn only_the_first_message_of_a_turn_has_a_latency() {
    let mut call = Call::new(Some("Hello, this is Ada."));
    call.feed(Input::MediaStarted);
    call.advance(3000);
    call.says("Is it ready?");
    call.writes(0, "Let me look.");
    call.calls(0, "a");
    call.finishes(0);
    call.tool_returns("a", "yes");
    call.answers(1, "It is ready.");
    call.advance(5000);
    let latencies = latencies(&call);
    assert_eq!(latencies.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn rounding_does_not_add_up() {
    let mut call = Call::begun();
    call.voice = None;
    for (micros, input) in [
        (1_000_900, Input::Transcript { text: "Hello?".into(), is_final: true, spoken_until: None }),
        (1_001_800, Input::TurnEnded),
        (1_002_700, Input::ModelText { generation: GenerationId(0), text: "Good morning.".into() }),
        (1_002_700, Input::ModelFinished { generation: GenerationId(0) }),
        (1_003_600, Input::VoiceAudio { clause: ClauseId(0), audio: Duration::from_micros(12_500) }),
        (1_004_900, finished(ClauseId(0))),
    ] {
        call.now = CallTime(micros);
        call.feed(input);
    }
    call.advance(1000);
    assert_eq!(latencies(&call)[0].unwrap().response_ms(), 4);
}
