//! However the command ends, it leaves no process behind, and the next run works.

use std::{
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use harness::{Stack, alive_on, signal, switchboard};

/// Guards give their children five seconds to end in order before they kill them.
const GONE: Duration = Duration::from_mins(1);

fn assert_all_gone(stack_state: &std::path::Path) {
    let asked = Instant::now();
    loop {
        let alive = alive_on(stack_state);
        if alive.is_empty() {
            return;
        }
        assert!(asked.elapsed() < GONE, "still alive: {alive:#?}");
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_killed_command_leaves_no_process_and_the_next_run_works() {
    let stack = Stack::start().unwrap();
    let state = stack.state().to_owned();
    assert!(alive_on(&state).len() > 4, "emulator, worker, speech service and their guards run");
    signal("-KILL", stack.pid());
    assert_all_gone(&state);

    // The state directory of the killed run does not stand in the next one's way.
    let mut next = switchboard(&["--state"]).arg(&state).stdin(Stdio::null()).spawn().unwrap();
    let asked = Instant::now();
    while !state.join("local.json").exists()
        || !std::fs::read_to_string(state.join("local.json")).unwrap().contains(&format!(": {}", next.id()))
    {
        assert!(next.try_wait().unwrap().is_none(), "the next run ended at once");
        assert!(asked.elapsed() < Duration::from_mins(3), "the next run is not ready");
        sleep(Duration::from_millis(100));
    }
    signal("-INT", next.id());
    assert!(next.wait().unwrap().success(), "Ctrl-C is how serving ends well");
    assert!(!state.join("local.json").exists(), "nobody is told of addresses where nothing runs");
    assert_all_gone(&state);
}
