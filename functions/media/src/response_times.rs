//! How long the caller waited for each answer: measured per call, and told to the conversation's log, our
//! own log, and `CloudWatch`.
//!
//! `CloudWatch` takes metrics out of log lines of a certain shape, the embedded metric format
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).

use std::io::Write as _;

use serde_json::{Value, json};
use switchboard_dialogue::Latency;
use switchboard_model::{ids::ConversationId, time::Timestamp};

/// As many values as one line may have of a metric.
const VALUES: usize = 100;

/// A stage of an answer, as metric, and its part in the whole.
type Stage = (&'static str, fn(&Latency) -> u64);

/// All of it.
const RESPONSE: Stage = ("response_ms", |latency| latency.response_ms());
/// One after the other.
const STAGES: [Stage; 4] = [
    ("transcript_ms", |latency| latency.transcript_ms),
    ("model_ms", |latency| latency.model_ms),
    ("voice_ms", |latency| latency.voice_ms),
    ("send_ms", |latency| latency.send_ms),
];

/// The answers of one call.
#[derive(Debug, Default)]
pub(crate) struct ResponseTimes {
    answers: Vec<Latency>,
    /// From the start of the stream to the first audio of the greeting.
    greeting_ms: Option<u64>,
}

impl ResponseTimes {
    /// One more answer was heard.
    pub(crate) fn answered(&mut self, latency: Latency) {
        self.answers.push(latency);
    }

    /// The greeting began.
    pub(crate) fn greeted(&mut self, after_ms: u64) {
        self.greeting_ms.get_or_insert(after_ms);
    }

    /// For the conversation's log; none if nothing was answered.
    pub(crate) fn note(&self) -> Option<String> {
        let count = self.answers.len();
        let [p50, p95] = [50, 95].map(|percent| self.percentile(RESPONSE, percent));
        let stages = STAGES.map(|stage @ (name, _)| {
            let [p50, p95] = [50, 95].map(|percent| self.percentile(stage, percent).unwrap_or_default());
            format!("{} {p50}/{p95}", name.trim_end_matches("_ms"))
        });
        let answers = if count == 1 { "answer" } else { "answers" };
        Some(format!("{count} {answers}: response p50 {} ms, p95 {} ms ({})", p50?, p95?, stages.join(", ")))
    }

    /// Tells our own log and `CloudWatch`.
    pub(crate) fn publish(&self, conversation: ConversationId, at: Timestamp) {
        let [p50, p95] = [50, 95].map(|percent| self.percentile(RESPONSE, percent));
        let (answers, greeting) = (self.answers.len(), self.greeting_ms);
        tracing::info!(%conversation, answers, response_p50_ms = p50, response_p95_ms = p95, greeting_ms = greeting, "response_times");
        let mut output = std::io::stdout().lock();
        for line in self.metrics(conversation, at) {
            // Without a log there is nobody to tell.
            let _ = writeln!(output, "{line}");
        }
    }

    /// A line in the embedded metric format; more than one after a hundred answers, none without any.
    fn metrics(&self, conversation: ConversationId, at: Timestamp) -> Vec<Value> {
        let mut lines: Vec<Value> = self
            .answers
            .chunks(VALUES)
            .map(|answers| {
                let mut line = json!({});
                for (name, stage) in [RESPONSE].into_iter().chain(STAGES) {
                    line[name] = answers.iter().map(stage).collect();
                }
                line
            })
            .collect();
        if let Some(greeting_ms) = self.greeting_ms {
            if lines.is_empty() {
                lines.push(json!({}));
            }
            lines[0]["greeting_ms"] = json!([greeting_ms]);
        }
        for line in &mut lines {
            let names = line.as_object().into_iter().flat_map(|line| line.keys());
            let metrics: Vec<_> = names.map(|name| json!({ "Name": name, "Unit": "Milliseconds" })).collect();
            let directive =
                json!({ "Namespace": "Switchboard", "Dimensions": [["Function"]], "Metrics": metrics });
            line["_aws"] = json!({ "Timestamp": at.as_millis(), "CloudWatchMetrics": [directive] });
            line["Function"] = json!("media");
            line["conversation_id"] = json!(conversation);
        }
        lines
    }

    /// The value that so many in a hundred do not exceed (nearest rank).
    fn percentile(&self, (_, stage): Stage, percent: usize) -> Option<u64> {
        let mut values: Vec<u64> = self.answers.iter().map(stage).collect();
        values.sort_unstable();
        let rank = (values.len() * percent).div_ceil(100);
        values.get(rank.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        Timestamp::from_millis(1_795_339_800_000)
    }

    fn response_times(answers: u64) -> ResponseTimes {
        let mut response_times = ResponseTimes::default();
        for number in 1..=answers {
            let (transcript_ms, model_ms) = (300 + number, 10 * number);
            response_times.answered(Latency { transcript_ms, model_ms, voice_ms: 90, send_ms: 1 });
        }
        response_times
    }

    fn lines(response_times: &ResponseTimes) -> Vec<Value> {
        response_times.metrics(ConversationId::new(at(), 1), at())
    }

    #[test]
    fn the_note_has_the_median_and_the_slow_ones_of_every_stage() {
        let expected = "20 answers: response p50 501 ms, p95 600 ms (transcript 310/319, model 100/190, \
                        voice 90/90, send 1/1)";
        assert_eq!(response_times(20).note().unwrap(), expected);
        let expected = "1 answer: response p50 402 ms, p95 402 ms (transcript 301/301, model 10/10, \
                        voice 90/90, send 1/1)";
        assert_eq!(response_times(1).note().unwrap(), expected);
        assert_eq!(response_times(0).note(), None);
    }

    #[test]
    fn a_call_is_one_line_in_the_embedded_metric_format() {
        let mut response_times = response_times(2);
        response_times.greeted(140);
        response_times.greeted(900);
        let metric = |name: &str| json!({ "Name": name, "Unit": "Milliseconds" });
        let names = ["greeting_ms", "model_ms", "response_ms", "send_ms", "transcript_ms", "voice_ms"];
        let line = json!({
            "_aws": {
                "Timestamp": 1_795_339_800_000_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "Switchboard",
                    "Dimensions": [["Function"]],
                    "Metrics": names.map(metric),
                }],
            },
            "Function": "media",
            "conversation_id": ConversationId::new(at(), 1),
            "response_ms": [402, 413],
            "transcript_ms": [301, 302],
            "model_ms": [10, 20],
            "voice_ms": [90, 90],
            "send_ms": [1, 1],
            "greeting_ms": [140],
        });
        assert_eq!(lines(&response_times), [line]);
        assert!(!lines(&response_times)[0].to_string().contains('\n'));
    }

    #[test]
    fn a_line_has_a_hundred_values_at_most_and_what_was_not_measured_is_no_metric() {
        let long = lines(&response_times(250));
        let counts: Vec<_> = long.iter().map(|line| line["response_ms"].as_array().unwrap().len()).collect();
        assert_eq!(counts, [100, 100, 50]);
        assert_eq!(lines(&response_times(0)), [Value::Null; 0]);
        let mut greeted = response_times(0);
        greeted.greeted(90);
        let [line] = &lines(&greeted)[..] else { panic!("one line") };
        let metrics = &line["_aws"]["CloudWatchMetrics"][0]["Metrics"];
        assert_eq!(*metrics, json!([{ "Name": "greeting_ms", "Unit": "Milliseconds" }]));
    }
}
