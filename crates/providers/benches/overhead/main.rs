//! Measures the time that our adapters add between a vendor's bytes and the call: first audio of a clause per voice,
//! and every token per language model.
//!
//! `cargo bench -p switchboard-providers --bench overhead`. For each provider a scripted vendor on the loopback address
//! notes when it writes. A bare socket and the adapter read the same bytes from it, by turns, each on the runtime of the
//! media worker, and note when they have them. It fails if the medians differ by a millisecond or more. TLS, which
//! both would need, is left out. Run without `--bench`, as by `cargo test --benches`, it only tries everything once.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod readers;
mod scripts;
mod vendor;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use tokio::{runtime::Builder, task::JoinSet, time::timeout};

use self::{
    readers::{Adapter, Bare},
    scripts::{SUBJECTS, Subject},
    vendor::Vendor,
};

/// Audio and tokens that each reader receives from each vendor.
const SAMPLES: usize = 500;
/// Answers that are not counted: connections are opened, memory is allocated.
const WARM_UPS: usize = 5;
/// Maximum difference of the medians.
const LIMIT: Duration = Duration::from_millis(1);
/// Maximum time of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let runtime = Builder::new_multi_thread().enable_all().build().expect("a runtime can be built");
    let rows = runtime.block_on(async {
        // A task, as a call is one.
        let mut tasks = JoinSet::new();
        tasks.spawn(measure_all(if is_measured { SAMPLES } else { 1 }));
        tasks.join_next().await.expect("there is a task").expect("no measurement panics")
    });
    print(&rows);
    let slow: Vec<_> = rows.iter().filter(|row| row.added(50) >= LIMIT.as_secs_f64()).collect();
    for row in &slow {
        println!("too slow: {} {} adds a millisecond or more", row.provider, row.unit);
    }
    if is_measured && !slow.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn measure_all(samples: usize) -> Vec<Row> {
    let mut rows = vec![];
    for subject in SUBJECTS {
        rows.push(measure(subject, samples).await);
    }
    rows
}

async fn measure(subject: &Subject, samples: usize) -> Row {
    let vendor = Vendor::start(subject.script);
    let mut bare = Bare::connect(vendor.address, subject.script).await;
    let mut adapter = Adapter::new(vendor.address, (subject.role)());
    let mut row = Row { provider: subject.provider, unit: subject.unit, bare: vec![], adapter: vec![] };
    for answer in 0.. {
        let received = timeout(ANSWER_TIMEOUT, bare.read()).await.expect("the bare socket reads an answer");
        let of_bare = delays(&vendor, &received);
        let received = timeout(ANSWER_TIMEOUT, adapter.read()).await.expect("the adapter reads an answer");
        let of_adapter = delays(&vendor, &received);
        if answer < WARM_UPS {
            continue;
        }
        row.bare.extend(of_bare);
        row.adapter.extend(of_adapter);
        if row.bare.len() >= samples {
            break;
        }
    }
    row.bare.sort_unstable();
    row.adapter.sort_unstable();
    row
}

/// The time from each write of an answer to its receipt.
fn delays(vendor: &Vendor, received: &[Instant]) -> Vec<Duration> {
    let written = vendor.take_written();
    assert_eq!(written.len(), received.len(), "every piece of an answer is received once");
    written.iter().zip(received).map(|(written, received)| received.duration_since(*written)).collect()
}

/// The delays of one provider, shortest first.
struct Row {
    provider: &'static str,
    unit: &'static str,
    bare: Vec<Duration>,
    adapter: Vec<Duration>,
}

impl Row {
    /// The seconds by which this percentile is later at the adapter.
    fn added(&self, percent: usize) -> f64 {
        percentile(&self.adapter, percent) - percentile(&self.bare, percent)
    }
}

/// Seconds.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)].as_secs_f64()
}

/// Prints the table, in microseconds.
fn print(rows: &[Row]) {
    println!("{:<26} {:>8} {:>17} {:>17} {:>17}", "", "", "bare socket", "adapter", "added");
    println!(
        "{:<26} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "us from write to receipt", "samples", "p50", "p99", "p50", "p99", "p50", "p99"
    );
    for row in rows {
        print!("{:<26} {:>8}", format!("{} {}", row.provider, row.unit), row.adapter.len());
        for seconds in [
            percentile(&row.bare, 50),
            percentile(&row.bare, 99),
            percentile(&row.adapter, 50),
            percentile(&row.adapter, 99),
            row.added(50),
            row.added(99),
        ] {
            print!(" {:>8.0}", seconds * 1e6);
        }
        println!();
    }
}
