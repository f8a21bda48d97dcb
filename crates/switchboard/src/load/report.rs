//! The numbers of a load test, as text and as JSON.

use std::{fmt::Write as _, io::Write as _, time::Duration};

use serde_json::{Map, Value, json};
use switchboard_sandbox::{Measured, Percentiles};

use crate::devstack::Counted;

/// Partition keys in the report.
const BUSIEST: usize = 3;

/// The results of a load test.
pub(super) struct LoadReport {
    /// Number of calls placed.
    pub(super) calls: u32,
    /// Duration of the measurement.
    pub(super) seconds: Duration,
    /// Calls whose callers never heard the agent.
    pub(super) never_came_up: usize,
    /// Calls that ended before they were told to.
    pub(super) broke_off: usize,
    /// Streams that replaced an earlier one of their call.
    pub(super) resumed: usize,
    /// Calls that were still live long after they were told to end.
    pub(super) did_not_end: usize,
    /// Whether the worker had a core of its own.
    pub(super) one_core: bool,
    /// Number of calls during the measurement.
    pub(super) talking: usize,
    pub(super) measured: Measured,
    /// Lateness of the agent's frames when the worker sent them.
    pub(super) own_lateness: Option<Percentiles>,
    /// Processor time of the worker during the measurement.
    pub(super) cpu: Duration,
    /// Time during the measurement in which the worker was ready to run, but its core was busy.
    pub(super) waited: Duration,
    /// The same two of this process: the callers and the vendors.
    pub(super) sandbox_cpu: Duration,
    pub(super) sandbox_waited: Duration,
    /// Growth of the worker's resident memory over its idle size, in bytes.
    pub(super) memory: u64,
    /// Resident memory of the idle worker, in bytes.
    pub(super) idle_memory: u64,
    /// The units of its requests to the table during the measurement.
    pub(super) table: Counted,
    /// The same calls with a hard-wired agent.
    pub(super) comparison: Option<Comparison>,
}

/// The cost of as many calls with a hard-wired agent.
pub(super) struct Comparison {
    pub(super) cpu_ms_per_call_second: f64,
    /// Number of calls that came up.
    pub(super) talking: usize,
    pub(super) frame_lateness: Option<Percentiles>,
    pub(super) underruns: u32,
    pub(super) answers: u32,
}

impl LoadReport {
    /// The number of failed calls by the kind of failure; `None` without a failure.
    pub(super) fn failures(&self) -> Option<String> {
        let kinds = [
            (self.never_came_up, "did not come up"),
            (self.broke_off, "broke off"),
            (self.resumed, "had to be resumed"),
            (self.did_not_end, "did not end"),
        ];
        let failed: Vec<_> = kinds
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} of {} calls {what}", self.calls))
            .collect();
        (!failed.is_empty()).then(|| failed.join(", "))
    }

    fn failed(&self) -> usize {
        self.never_came_up + self.broke_off + self.resumed + self.did_not_end
    }

    /// All distributions: the name in JSON, the title in the text, and the values.
    fn distributions(&self) -> [(&'static str, &'static str, Option<Percentiles>); 9] {
        let Measured { frame_lateness, sandbox_lateness, own_share, clear, greeting, .. } = self.measured;
        let Measured { transcript_to_model, sentence_to_voice, audio_to_carrier, .. } = self.measured;
        [
            ("frame_lateness_ms", "frame lateness", frame_lateness),
            ("own_lateness_ms", "  when the worker sent it", self.own_lateness),
            ("sandbox_lateness_ms", "  lateness of the sandbox itself", sandbox_lateness),
            ("response_own_share_ms", "our own share of a response", own_share),
            ("transcript_to_model_ms", "  final transcript to model", transcript_to_model),
            ("sentence_to_voice_ms", "  first sentence to voice", sentence_to_voice),
            ("audio_to_carrier_ms", "  first audio to carrier", audio_to_carrier),
            ("clear_ms", "200 ms of speech to clear", clear),
            ("greeting_ms", "stream's start to greeting", greeting),
        ]
    }

    fn call_seconds(&self) -> f64 {
        call_seconds(self.seconds, self.talking)
    }

    fn cpu_ms_per_call_second(&self) -> f64 {
        rounded(self.cpu.as_secs_f64() * 1000.0 / self.call_seconds())
    }

    fn memory_mib_per_call(&self) -> f64 {
        rounded(mib(self.memory) / count(self.talking))
    }

    /// The share of the time of measurement, in percent.
    fn percent(&self, of: Duration) -> f64 {
        rounded(of.as_secs_f64() * 100.0 / self.seconds.as_secs_f64())
    }

    /// Units per minute of a call.
    fn per_call_minute(&self, units: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "units of some minutes")]
        let units = units as f64;
        rounded(units * 60.0 / self.call_seconds())
    }

    /// The busiest partition keys: place, key, writes per second, write units per second.
    fn busiest_keys(&self) -> Vec<(&'static str, &str, f64, f64)> {
        let per_second = |count: u64| {
            #[expect(clippy::cast_precision_loss, reason = "writes of some minutes")]
            let count = count as f64;
            rounded(count / self.seconds.as_secs_f64())
        };
        let keys = self.table.writes.keys().into_iter().take(BUSIEST);
        keys.map(|(place, key, sum)| (place, key, per_second(sum.writes), per_second(sum.units))).collect()
    }

    /// The report as JSON.
    pub(super) fn json(&self) -> Value {
        let Measured { underruns, answers, interruptions, unanswered, .. } = self.measured;
        let mut json = json!({
            "calls": self.calls,
            "seconds": rounded(self.seconds.as_secs_f64()),
            "optimized": !cfg!(debug_assertions),
            "one_core": self.one_core,
            "calls_failed": self.failed(),
            "underruns": underruns,
            "answers": answers,
            "unanswered": unanswered,
            "interruptions": interruptions,
            "cpu_ms_per_call_second": self.cpu_ms_per_call_second(),
            "memory_mib_per_call": self.memory_mib_per_call(),
            "memory_mib_idle": rounded(mib(self.idle_memory)),
            "worker_busy_percent": self.percent(self.cpu),
            "worker_waited_percent": self.percent(self.waited),
            "sandbox_busy_percent": self.percent(self.sandbox_cpu),
            "sandbox_waited_percent": self.percent(self.sandbox_waited),
            "write_units_per_call_minute": self.per_call_minute(self.table.writes.units()),
            "read_units_per_call_minute": self.per_call_minute(self.table.read_units),
        });
        let kinds = self.table.writes.kinds().into_iter();
        json["write_units_by_kind"] = kinds
            .map(|(kind, sum)| (kind.to_owned(), json!(self.per_call_minute(sum.units))))
            .collect::<Map<_, _>>()
            .into();
        let keys = self.busiest_keys().into_iter().map(|(place, key, writes, units)| {
            json!({ "place": place, "key": key, "writes_per_second": writes, "units_per_second": units })
        });
        json["busiest_keys"] = keys.collect();
        for (name, _, times) in self.distributions() {
            json[name] = times.map_or(Value::Null, |times| json!({ "p50": times.p50, "p99": times.p99 }));
        }
        let compared = self.comparison.as_ref();
        json["hard_wired"] = compared.map_or(Value::Null, |agent| agent.json(self.cpu_ms_per_call_second()));
        json
    }

    /// Prints the report as text.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        let Measured { underruns, answers, interruptions, unanswered, .. } = self.measured;
        let mut text = format!("\n{:<32}{:>10}{:>10}\n", "", "p50", "p99");
        for (_, title, times) in self.distributions() {
            match times {
                Some(Percentiles { p50, p99 }) => {
                    writeln!(text, "{title:<32}{p50:>7.2} ms{p99:>7.2} ms")?;
                }
                None => writeln!(text, "{title:<32}{:>10}{:>10}", "-", "-")?,
            }
        }
        write!(
            text,
            "\nworker{}: {:.2} ms of CPU per call-second, {:.2} MiB per call beyond {:.1} MiB when idle; \
             it was busy {:.1} % of the time, and waited for its core {:.1} %\n\
             sandbox, which is the callers and the vendors: busy {:.1} %, waited for a core {:.1} %\n\
             {} calls for {:.0} s: {} failed, {answers} answers ({unanswered} missing), \
             {interruptions} interruptions, {underruns} underruns\n",
            if self.one_core { " on one core" } else { "" },
            self.cpu_ms_per_call_second(),
            self.memory_mib_per_call(),
            mib(self.idle_memory),
            self.percent(self.cpu),
            self.percent(self.waited),
            self.percent(self.sandbox_cpu),
            self.percent(self.sandbox_waited),
            self.calls,
            self.seconds.as_secs_f64(),
            self.failed(),
        )?;
        writeln!(
            text,
            "\ntable: {:.1} write units and {:.1} read units per minute of a call",
            self.per_call_minute(self.table.writes.units()),
            self.per_call_minute(self.table.read_units),
        )?;
        for (kind, sum) in self.table.writes.kinds() {
            let (writes, units) = (self.per_call_minute(sum.writes), self.per_call_minute(sum.units));
            writeln!(text, "  {kind:<32}{writes:>7.1} writes{units:>8.1} units")?;
        }
        text.push_str("the busiest partition keys, per second:\n");
        for (place, key, writes, units) in self.busiest_keys() {
            writeln!(text, "  {writes:>7.1} writes{units:>8.1} units  {place} {key}")?;
        }
        if let Some(agent) = &self.comparison {
            let Comparison { cpu_ms_per_call_second, talking, frame_lateness, underruns, answers } = agent;
            writeln!(
                text,
                "\na hard-wired agent: {cpu_ms_per_call_second:.2} ms of CPU per call-second, of which the worker takes {:.2} \
                 times as much\n{talking} calls, {answers} answers, {underruns} underruns, p99 of frame lateness {:.2} ms",
                self.cpu_ms_per_call_second() / cpu_ms_per_call_second,
                frame_lateness.map_or(f64::NAN, |lateness| lateness.p99),
            )?;
        }
        if cfg!(debug_assertions) {
            text.push_str("This was an unoptimized build, so the times mean nothing.\n");
        }
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    }
}

/// The time of measurement, once for each call.
pub(super) fn call_seconds(seconds: Duration, talking: usize) -> f64 {
    seconds.as_secs_f64() * count(talking)
}

fn mib(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "memory of one process")]
    let bytes = bytes as f64;
    bytes / 1_048_576.0
}

fn count(calls: usize) -> f64 {
    u32::try_from(calls).map_or(f64::INFINITY, f64::from)
}

/// Rounds to a thousandth.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> LoadReport {
        LoadReport {
            calls: 4,
            seconds: Duration::from_secs(10),
            never_came_up: 0,
            broke_off: 0,
            resumed: 0,
            did_not_end: 0,
            talking: 4,
            one_core: true,
            measured: Measured { underruns: 2, ..Measured::default() },
            cpu: Duration::from_millis(100),
            waited: Duration::from_millis(20),
            own_lateness: None,
            sandbox_cpu: Duration::from_secs(1),
            sandbox_waited: Duration::ZERO,
            comparison: None,
            memory: 3 << 20,
            idle_memory: 9 << 20,
            table: Counted::default(),
        }
    }

    #[test]
    fn costs_are_shared_by_all_calls() {
        let json = report().json();
        assert_eq!(json["cpu_ms_per_call_second"], 2.5);
        assert_eq!(json["memory_mib_per_call"], 0.75);
        assert_eq!((&json["calls_failed"], &json["underruns"]), (&json!(0), &json!(2)));
        assert_eq!(json["clear_ms"], Value::Null, "no interruption was measured");
    }

    #[test]
    fn units_are_per_minute_of_a_call() {
        let mut table = Counted { read_units: 80, ..Counted::default() };
        let item = json!({ "pk": { "S": "a" }, "sk": { "S": "EVT#000001" } });
        for _ in 0..20 {
            table.writes.add(item.as_object().unwrap(), None, item.as_object(), true);
        }
        let json = LoadReport { table, ..report() }.json();
        assert_eq!(
            (&json["write_units_per_call_minute"], &json["read_units_per_call_minute"]),
            (&json!(60.0), &json!(120.0))
        );
        assert_eq!(json["write_units_by_kind"], json!({ "EVT, in a transaction": 60.0 }));
        let busiest =
            json!({ "place": "table", "key": "a", "writes_per_second": 2.0, "units_per_second": 4.0 });
        assert_eq!(json["busiest_keys"], json!([busiest]));
    }

    #[test]
    fn failed_calls_are_counted_and_named() {
        assert_eq!(report().failures(), None);
        let report = LoadReport { never_came_up: 1, did_not_end: 2, ..report() };
        assert_eq!(report.json()["calls_failed"], 3);
        let failures = report.failures().unwrap();
        assert_eq!(failures, "1 of 4 calls did not come up, 2 of 4 calls did not end");
    }
}
