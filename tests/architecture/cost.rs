//! The costs of a deployment, from the defaults of `template.yaml` and the list prices of AWS. `docs/cost.md` shows the same tables.
//!
//! Prices: US East (N. Virginia), on demand, read on 2026-12-01 from the vendor's price pages. Free tiers are left out.

use std::fmt::Write as _;

use crate::template::resources;

/// Hours of a month.
const HOURS: f64 = 730.0;
const MINUTES: f64 = HOURS * 60.0;

/// Fargate on arm64, per hour: a virtual processor, and a GB of memory.
const FARGATE_VCPU: f64 = 0.032_38;
const FARGATE_GB: f64 = 0.003_56;
/// An Application Load Balancer, per hour, and one of its capacity units: a GB an hour.
const BALANCER: f64 = 0.0225;
const BALANCER_GB: f64 = 0.008;
/// A public IPv4 address, per hour.
const ADDRESS: f64 = 0.005;
/// A KMS key, a secret, an alarm, a metric, a dashboard: per month.
const KEY: f64 = 1.0;
const SECRET: f64 = 0.4;
const ALARM: f64 = 0.1;
const METRIC: f64 = 0.3;
const DASHBOARD: f64 = 3.0;
/// `DynamoDB` on demand, per write unit and per read unit.
const WRITE: f64 = 0.625e-6;
const READ: f64 = 0.125e-6;
/// A request to SQS; a GB-second of Lambda on arm64; a request to Lambda.
const QUEUE_REQUEST: f64 = 0.4e-6;
const LAMBDA_GB_SECOND: f64 = 0.000_013_333_4;
const LAMBDA_REQUEST: f64 = 0.2e-6;
/// A GB in S3 for a month, a GB out to the internet, a GB of logs.
const STORED_GB: f64 = 0.023;
const OUT_GB: f64 = 0.09;
const LOGS_GB: f64 = 0.5;

/// Metrics that are reported while nobody calls: six of the workers, four of the sweeper.
const IDLE_METRICS: f64 = 10.0;
/// Partition keys that a sweep reads: the shards of its five lists, and the one key of version 0.1.0 of each.
const SWEPT_KEYS: f64 = (32 + 32 + 256 + 1 + 1 + 5) as f64;
/// Seconds of a sweep that finds nothing, generously.
const SWEEP_SECONDS: f64 = 0.5;
/// Reports of a worker per minute, each a write unit.
const REPORTS: f64 = 6.0;
/// Lambda keeps five long polls of 20 s open at each queue.
const POLLS_PER_MINUTE: f64 = 15.0;

/// Write units of a minute of a call: the budget that `functions/media/tests/calls/write_units.rs` holds.
const CALL_UNITS: f64 = 60.0;
/// Live calls of a worker: the scaling keeps half of its hundred places free.
const CALLS_OF_WORKER: f64 = 50.0;
/// Megabytes of a minute of a call: audio to the carrier (base64 in JSON), audio to the transcriber, all through the balancer, a stereo
/// recording of 16 bits at 8 kHz, and log lines.
const TO_CARRIER_MB: f64 = 0.84;
const TO_TRANSCRIBER_MB: f64 = 0.48;
const BALANCED_MB: f64 = 1.7;
const RECORDED_MB: f64 = 1.92;
const LOGGED_MB: f64 = 0.05;
/// Webhook deliveries of a minute of a call, the requests to the queue for each, and the GB-seconds of each.
const DELIVERIES: f64 = 10.0;
const REQUESTS_OF_DELIVERY: f64 = 3.0;
const GB_SECONDS_OF_DELIVERY: f64 = 0.15;

/// A part of the costs, and the USD of it.
type Part = (String, f64);

/// The default of a parameter.
fn default_of(template: &str, parameter: &str) -> f64 {
    let section = template.lines().skip_while(|line| line.trim_end() != format!("  {parameter}:"));
    let value = section.skip(1).find_map(|line| line.trim().strip_prefix("Default: "));
    value.and_then(|value| value.trim_matches('"').parse().ok()).expect("a parameter with a number")
}

fn of_kind(template: &str, kind: &str) -> f64 {
    let count = resources(template).iter().filter(|it| it.is(kind)).count();
    f64::from(u32::try_from(count).expect("few"))
}

/// USD of a worker per hour.
fn worker(template: &str) -> f64 {
    let (cpu, memory) = (default_of(template, "MediaCpu"), default_of(template, "MediaMemory"));
    cpu / 1024.0 * FARGATE_VCPU + memory / 1024.0 * FARGATE_GB
}

/// The parts of a month in which nobody calls.
fn idle(template: &str) -> Vec<Part> {
    let workers = default_of(template, "MediaMinTasks");
    let addresses = workers + 2.0;
    let (alarms, dashboards) =
        (of_kind(template, "AWS::CloudWatch::Alarm"), of_kind(template, "AWS::CloudWatch::Dashboard"));
    let watching = alarms * ALARM + IDLE_METRICS * METRIC + dashboards * DASHBOARD;
    let sweeps = SWEPT_KEYS * 0.5 * READ + SWEEP_SECONDS * LAMBDA_GB_SECOND + LAMBDA_REQUEST;
    let polls = 2.0 * POLLS_PER_MINUTE * QUEUE_REQUEST;
    let part = |name: String, usd: f64| (name, usd);
    vec![
        part(format!("{workers} media workers"), workers * worker(template) * HOURS),
        part("load balancer".into(), BALANCER * HOURS),
        part(format!("{addresses} public IPv4 addresses"), addresses * ADDRESS * HOURS),
        part(format!("{alarms} alarms, {IDLE_METRICS} metrics, {dashboards} dashboards"), watching),
        part("KMS key and secret".into(), KEY + SECRET),
        part("a sweep each minute".into(), sweeps * MINUTES),
        part("long polls of the queues".into(), polls * MINUTES),
        part("reports of the workers".into(), workers * REPORTS * WRITE * MINUTES),
    ]
}

/// The parts of a minute of a call, without the vendors.
fn call_minute(template: &str) -> Vec<Part> {
    let months = default_of(template, "RetentionDays") / 30.4;
    let gb = |megabytes: f64| megabytes / 1000.0;
    let delivery =
        REQUESTS_OF_DELIVERY * QUEUE_REQUEST + GB_SECONDS_OF_DELIVERY * LAMBDA_GB_SECOND + LAMBDA_REQUEST;
    let part = |name: String, usd: f64| (name, usd);
    vec![
        part(format!("table: {CALL_UNITS} write units"), CALL_UNITS * WRITE),
        part(
            format!("recording, kept for {} days", default_of(template, "RetentionDays")),
            gb(RECORDED_MB) * STORED_GB * months,
        ),
        part(
            "audio out to the carrier and the transcriber".into(),
            gb(TO_CARRIER_MB + TO_TRANSCRIBER_MB) * OUT_GB,
        ),
        part(format!("{DELIVERIES} webhook deliveries"), DELIVERIES * delivery),
        part("logs".into(), gb(LOGGED_MB) * LOGS_GB),
        part("load balancer".into(), gb(BALANCED_MB) * BALANCER_GB),
        part("media worker".into(), worker(template) / 60.0 / CALLS_OF_WORKER),
    ]
}

/// A table of Markdown with a sum.
fn sums(head: &str, parts: &[Part], digits: usize) -> String {
    let mut text = format!("| {head} | USD |\n|---|---|\n");
    for (name, usd) in parts {
        writeln!(text, "| {name} | {usd:.digits$} |").expect("a string takes it");
    }
    let sum: f64 = parts.iter().map(|(_, usd)| usd).sum();
    writeln!(text, "| **sum** | **{sum:.digits$}** |").expect("a string takes it");
    text
}

/// A table of Markdown by the number of live calls.
fn scales(template: &str) -> String {
    let mut text =
        String::from("| live calls | workers | write units per second | USD per hour |\n|---|---|---|---|\n");
    let minute: f64 = call_minute(template).iter().map(|(_, usd)| usd).sum();
    let minute = minute - worker(template) / 60.0 / CALLS_OF_WORKER;
    for calls in [1.0, 100.0, 1_000.0, 10_000.0] {
        let workers = (calls / CALLS_OF_WORKER).ceil().max(default_of(template, "MediaMinTasks"));
        let usd = workers * (worker(template) + ADDRESS) + BALANCER + 2.0 * ADDRESS + calls * minute * 60.0;
        let units = calls * CALL_UNITS / 60.0;
        writeln!(text, "| {calls} | {workers} | {units} | {usd:.2} |").expect("a string takes it");
    }
    text
}

/// The tables that a document about the template must have.
pub(crate) fn tables(template: &str) -> [String; 3] {
    [
        sums("a month in which nobody calls", &idle(template), 2),
        sums("a minute of a call", &call_minute(template), 6),
        scales(template),
    ]
}

/// The USD of a month in which nobody calls, as the README has it: to five dollars.
pub(crate) fn idle_rounded(template: &str) -> f64 {
    let sum: f64 = idle(template).iter().map(|(_, usd)| usd).sum();
    (sum / 5.0).round() * 5.0
}
