//! Metrics as log lines in the embedded metric format. CloudWatch extracts them, so no request is made for them.
//!
//! The format is specified in
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.

use std::{io::Write as _, sync::OnceLock};

use serde::Serialize;
use serde_json::{Map, Value, json};
use switchboard_model::time::Timestamp;

use crate::Vars;

/// The deployment that this process belongs to.
static STACK: OnceLock<String> = OnceLock::new();

/// The dimension that keeps the metrics of deployments apart.
const STACK_DIMENSION: &str = "Stack";

/// The namespace of all metrics.
const NAMESPACE: &str = "Switchboard";
/// The most values that one line may hold of one metric (the format's limit).
const MAX_VALUES: usize = 100;

/// A unit that CloudWatch knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// A number of things.
    Count,
    /// Hundredths of a whole.
    Percent,
    /// Whole or fractional milliseconds.
    Milliseconds,
    /// Whole or fractional seconds.
    Seconds,
}

/// Sets the deployment of this process for all its metrics: `STACK_NAME`, or `local`.
pub(crate) fn init(vars: &Vars) {
    // Fails only if a test has set one already.
    let _ = STACK.set(vars.get("STACK_NAME").unwrap_or_else(|| "local".to_owned()));
}

/// Metrics of one event. Their values share its time, dimensions and properties.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    stack: Option<String>,
    breakdown: Option<&'static str>,
    properties: Map<String, Value>,
    series: Vec<(&'static str, Unit, Values)>,
}

#[derive(Debug, Clone)]
enum Values {
    One(u64),
    Many(Vec<u64>),
}

impl Metrics {
    /// No metrics yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the metrics by the value of a dimension, too, beside their sum. It must have few values: each is a metric that is
    /// paid for.
    #[must_use]
    pub fn by(mut self, name: &'static str, value: &str) -> Self {
        self.breakdown = Some(name);
        self.property(name, value)
    }

    /// Adds a searchable property that is no metric, such as an id.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "callers pass ids and literals")]
    pub fn property(mut self, name: &str, value: impl ToString) -> Self {
        self.properties.insert(name.to_owned(), Value::String(value.to_string()));
        self
    }

    /// Adds a metric with one value.
    #[must_use]
    pub fn value(mut self, name: &'static str, unit: Unit, value: u64) -> Self {
        self.series.push((name, unit, Values::One(value)));
        self
    }

    /// Adds a metric with any number of values; none add nothing.
    #[must_use]
    pub fn values(mut self, name: &'static str, unit: Unit, values: impl IntoIterator<Item = u64>) -> Self {
        self.series.push((name, unit, Values::Many(values.into_iter().collect())));
        self
    }

    /// The lines: more than one if a metric has more values than a line may hold, none without any value.
    #[must_use]
    pub fn lines(&self, at: Timestamp) -> Vec<Value> {
        (0..).map_while(|number| self.line(number, at)).collect()
    }

    /// Writes the lines to standard output. A line must be nothing but JSON, so it does not pass the subscriber.
    pub fn write(&self, at: Timestamp) {
        let stack = STACK.get().cloned();
        let mut output = std::io::stdout().lock();
        for line in (Self { stack, ..self.clone() }).lines(at) {
            // There is no other place to report that standard output is closed.
            let _ = writeln!(output, "{line}");
        }
    }

    /// The line that holds the values from `number * MAX_VALUES` on.
    fn line(&self, number: usize, at: Timestamp) -> Option<Value> {
        let mut members = self.properties.clone();
        let mut dimensions = vec![];
        if let Some(stack) = &self.stack {
            members.insert(STACK_DIMENSION.to_owned(), json!(stack));
            dimensions.push(STACK_DIMENSION);
        }
        let mut sets = vec![dimensions.clone()];
        sets.extend(self.breakdown.map(|name| [&dimensions[..], &[name]].concat()));
        let mut declared = Vec::new();
        for (name, unit, values) in &self.series {
            let value = match values {
                Values::One(value) if number == 0 => json!(value),
                Values::One(_) => continue,
                Values::Many(values) => match values.chunks(MAX_VALUES).nth(number) {
                    Some(values) => json!(values),
                    None => continue,
                },
            };
            declared.push(json!({ "Name": name, "Unit": unit }));
            members.insert((*name).to_owned(), value);
        }
        if declared.is_empty() {
            return None;
        }
        let directive = json!({ "Namespace": NAMESPACE, "Dimensions": sets, "Metrics": declared });
        members.insert(
            "_aws".to_owned(),
            json!({ "Timestamp": at.as_millis(), "CloudWatchMetrics": [directive] }),
        );
        Some(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        Timestamp::from_millis(1_795_339_800_120)
    }

    #[test]
    fn a_line_declares_every_metric_it_holds() {
        let metrics = Metrics { stack: Some("phones".to_owned()), ..Metrics::new() };
        let metrics = metrics
            .by("Reason", "user_ended")
            .property("conversation_id", "cnv_1")
            .values("response_ms", Unit::Milliseconds, [402, 413])
            .value("SweepEnded", Unit::Count, 3);
        let line = json!({
            "_aws": {
                "Timestamp": 1_795_339_800_120_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "Switchboard",
                    "Dimensions": [["Stack"], ["Stack", "Reason"]],
                    "Metrics": [
                        { "Name": "response_ms", "Unit": "Milliseconds" },
                        { "Name": "SweepEnded", "Unit": "Count" },
                    ],
                }],
            },
            "Stack": "phones",
            "Reason": "user_ended",
            "conversation_id": "cnv_1",
            "response_ms": [402, 413],
            "SweepEnded": 3,
        });
        assert_eq!(metrics.lines(at()), [line]);
    }

    #[test]
    fn a_line_holds_at_most_a_hundred_values_of_a_metric() {
        let metrics = Metrics::new().values("response_ms", Unit::Milliseconds, 0..250).values(
            "greeting_ms",
            Unit::Milliseconds,
            [90],
        );
        let lines = metrics.lines(at());
        let counts: Vec<_> = lines.iter().map(|line| line["response_ms"].as_array().unwrap().len()).collect();
        assert_eq!(counts, [100, 100, 50]);
        assert_eq!(lines[0]["greeting_ms"], json!([90]));
        assert_eq!(lines[1]["greeting_ms"], Value::Null);
    }

    #[test]
    fn metrics_without_values_are_no_line() {
        let metrics = Metrics::new().by("Reason", "unknown").values("response_ms", Unit::Milliseconds, []);
        assert_eq!(metrics.lines(at()), Vec::<Value>::new());
    }
}
