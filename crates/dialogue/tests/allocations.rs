//! Audio costs no memory: the engine allocates nothing per frame, neither in speech nor in silence.

#[path = "../benches/scripted/mod.rs"]
mod scripted;

use allocation_counter::measure;
use switchboard_dialogue::{ConversationEvent, Engine, Input, Output};

/// Whether a step is the routine of each audio frame. Other steps carry words or concern turn-taking.
fn is_audio(input: &Input, outputs: &[Output]) -> bool {
    let steady = |output: &Output| {
        matches!(
            output,
            Output::Send { .. } | Output::Mark(_) | Output::Event(ConversationEvent::Duration { .. })
        )
    };
    matches!(input, Input::Frame { .. } | Input::Wake) && outputs.iter().all(steady)
}

#[test]
fn no_memory_is_allocated_per_frame_of_audio() {
    let mut engine = Engine::new(scripted::settings());
    let mut outputs = Vec::with_capacity(64);
    let (mut frames, mut sent) = (0, 0);
    for (at, input) in scripted::call() {
        let kind = input.clone();
        outputs.clear();
        let allocations = measure(|| {
            engine.on(at, input, &mut outputs);
            std::hint::black_box(engine.deadline());
        });
        if is_audio(&kind, &outputs) {
            frames += 1;
            sent += outputs.iter().filter(|output| matches!(output, Output::Send { .. })).count();
            assert_eq!(allocations.count_total, 0, "at {at:?}: {kind:?}");
        }
    }
    assert!(frames > 2000 && sent > 1000, "{frames} frames, {sent} of them sent");
}
