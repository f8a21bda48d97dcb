//! Audio costs no memory: while somebody speaks, or nobody, the engine allocates nothing.

#[path = "../benches/scripted/mod.rs"]
mod scripted;

use allocation_counter::measure;
use switchboard_dialogue::{ConversationEvent, Engine, Input, Output};

/// What is decided frame by frame. Everything else is somebody's words, or who has the floor.
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
