//! Measures the cost of the dialogue engine: the benchmark replays a scripted call of one minute, alone and
//! as 200 calls that one core serves by turns, a few milliseconds apart.
//!
//! `cargo bench -p switchboard-dialogue --bench dialogue`. Only the engine is measured: its inputs are made
//! before.

#![expect(clippy::cast_precision_loss, reason = "2^52 inputs would take years")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod scripted;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use allocation_counter::measure;
use switchboard_dialogue::{CallTime, Engine, Input, Output};

/// Number of replays. The fastest one counts: the others were slowed down by the machine.
const TIMES: usize = 20;
const MANY: usize = 200;

fn main() {
    let call = scripted::call();
    let columns = [Cost::of(&call, 1), Cost::of(&call, MANY)];
    let per_second = columns.each_ref().map(|cost| cost.took.as_secs_f64() * 1e6 / cost.seconds);
    println!("{:<36} {:>10} {:>10}", "calls", 1, MANY);
    row("ns per input", columns.each_ref().map(|cost| cost.took.as_secs_f64() * 1e9 / cost.inputs as f64), 0);
    row("inputs per call-second", columns.each_ref().map(|cost| cost.inputs as f64 / cost.seconds), 1);
    row("us per call-second", per_second, 1);
    row("allocations per call-second", columns.each_ref().map(|cost| cost.all as f64 / cost.seconds), 1);
    row(
        "allocations per audio frame",
        columns.each_ref().map(|cost| cost.audio as f64 / cost.frames as f64),
        3,
    );
    row("bytes per call at its end", columns.each_ref().map(|cost| cost.bytes as f64), 0);
}

fn row(what: &str, [one, many]: [f64; 2], digits: usize) {
    println!("{what:<36} {one:>10.digits$} {many:>10.digits$}");
}

#[derive(Default)]
struct Cost {
    took: Duration,
    inputs: usize,
    /// Length of all calls.
    seconds: f64,
    /// Allocations.
    all: u64,
    /// Allocations in steps that only receive or send audio.
    audio: u64,
    frames: u64,
    /// Memory that an engine holds at the end of its call.
    bytes: i64,
}

impl Cost {
    fn of(call: &[(CallTime, Input)], calls: usize) -> Self {
        let seconds = scripted::LASTS.as_secs_f64() * calls as f64;
        let mut cost = Self { took: Duration::MAX, inputs: call.len() * calls, seconds, ..Self::default() };
        let times = (TIMES * 4 / calls).max(3);
        for _ in 0..times {
            let inputs = interleaved(call, calls);
            let mut engines: Vec<_> = (0..calls).map(|_| Engine::new(scripted::settings())).collect();
            let mut outputs = Vec::with_capacity(64);
            let began = Instant::now();
            for (engine, at, input) in inputs {
                engines[engine].on(at, input, &mut outputs);
                black_box((&outputs, engines[engine].deadline()));
                outputs.clear();
            }
            cost.took = cost.took.min(began.elapsed());
        }
        cost.count(call, calls);
        cost
    }

    /// Counts allocations, in a run of its own: counting costs time.
    fn count(&mut self, call: &[(CallTime, Input)], calls: usize) {
        let inputs = interleaved(call, calls);
        let mut outputs = Vec::with_capacity(64);
        let mut engines = Vec::with_capacity(calls);
        let made = measure(|| engines.extend((0..calls).map(|_| Engine::new(scripted::settings()))));
        let mut held = made.bytes_current;
        for (engine, at, input) in inputs {
            let is_frame = matches!(input, Input::Frame { .. } | Input::Wake);
            let given = measure(|| drop(black_box(input.clone()))).bytes_total;
            let allocated = measure(|| {
                engines[engine].on(at, input, &mut outputs);
                black_box(engines[engine].deadline());
            });
            // The input was allocated before this measurement, so its bytes are added.
            held += allocated.bytes_current + i64::try_from(given).unwrap_or(i64::MAX);
            self.all += allocated.count_total;
            if is_frame
                && outputs.iter().all(|output| matches!(output, Output::Send { .. } | Output::Mark(_)))
            {
                self.audio += allocated.count_total;
                self.frames += 1;
            }
            outputs.clear();
        }
        self.bytes = held / i64::try_from(calls).unwrap_or(i64::MAX);
    }
}

/// The inputs of `calls` calls, in the order in which one core receives them.
fn interleaved(call: &[(CallTime, Input)], calls: usize) -> Vec<(usize, CallTime, Input)> {
    let apart = |engine: usize| Duration::from_micros(7_919 * engine as u64);
    let mut inputs: Vec<_> = (0..calls)
        .flat_map(|engine| call.iter().map(move |(at, input)| (*at + apart(engine), engine, *at, input)))
        .collect();
    inputs.sort_by_key(|(at, engine, _, _)| (*at, *engine));
    inputs.into_iter().map(|(_, engine, at, input)| (engine, at, input.clone())).collect()
}
