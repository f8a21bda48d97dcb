//! The response times of a call: how long the caller waited for each response and for the greeting.
//!
//! They are published three times: as a note on the conversation's last event, as a log line, and as CloudWatch
//! metrics. The engine measures them; this module only summarises.

use switchboard_dialogue::Latency;
use switchboard_model::time::Timestamp;
use switchboard_providers::carrier::CarrierCallId;
use switchboard_runtime::{
    emf::{Metrics, Unit},
    percentiles::percentile,
};

use crate::conversation_key::ConversationKey;

/// A metric's name and its value in one response.
type Metric = (&'static str, fn(&Latency) -> u64);

/// The metric of the whole wait.
const RESPONSE: Metric = ("response_ms", |latency| latency.response_ms());
/// The metrics of its stages, in their order.
const STAGES: [Metric; 4] = [
    ("transcript_ms", |latency| latency.transcript_ms),
    ("model_ms", |latency| latency.model_ms),
    ("voice_ms", |latency| latency.voice_ms),
    ("send_ms", |latency| latency.send_ms),
];

/// The response times of one call.
#[derive(Debug, Default)]
pub(crate) struct ResponseTimes {
    responses: Vec<Latency>,
    greeting_ms: Option<u64>,
}

impl ResponseTimes {
    /// Adds a response that the caller heard.
    pub(crate) fn record_response(&mut self, latency: Latency) {
        self.responses.push(latency);
    }

    /// Records the time from the start of the stream to the first audio of the greeting; the first one counts.
    pub(crate) fn record_greeting(&mut self, after_ms: u64) {
        self.greeting_ms.get_or_insert(after_ms);
    }

    /// The note for the conversation's event log. `None` without responses.
    pub(crate) fn note(&self) -> Option<String> {
        let count = self.responses.len();
        let [p50, p95] = self.percentiles(RESPONSE);
        let stages = STAGES.map(|stage @ (name, _)| {
            let [p50, p95] = self.percentiles(stage).map(Option::unwrap_or_default);
            format!("{} {p50}/{p95}", name.trim_end_matches("_ms"))
        });
        let responses = if count == 1 { "answer" } else { "answers" };
        let stages = stages.join(", ");
        Some(format!("{count} {responses}: response p50 {} ms, p95 {} ms ({stages})", p50?, p95?))
    }

    /// Writes the log line and the metrics of a call that ended for this worker.
    pub(crate) fn publish(&self, key: ConversationKey, call: Option<&CarrierCallId>, at: Timestamp) {
        let [response_p50_ms, response_p95_ms] = self.percentiles(RESPONSE);
        let (responses, greeting_ms) = (self.responses.len(), self.greeting_ms);
        tracing::info!(responses, response_p50_ms, response_p95_ms, greeting_ms, "response times measured");
        self.metrics(key, call).write(at);
    }

    fn metrics(&self, key: ConversationKey, call: Option<&CarrierCallId>) -> Metrics {
        let metrics = Metrics::new()
            .property("account_id", key.account)
            .property("conversation_id", key.conversation)
            .property("call_sid", call.map_or("", CarrierCallId::id))
            .values("greeting_ms", Unit::Milliseconds, self.greeting_ms);
        [RESPONSE].into_iter().chain(STAGES).fold(metrics, |metrics, (name, value)| {
            metrics.values(name, Unit::Milliseconds, self.responses.iter().map(value))
        })
    }

    /// The median and the 95th percentile.
    fn percentiles(&self, (_, value): Metric) -> [Option<u64>; 2] {
        let mut values: Vec<u64> = self.responses.iter().map(value).collect();
        values.sort_unstable();
        [50, 95].map(|percent| percentile(&values, percent))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use switchboard_model::ids::{AccountId, ConversationId};
    use switchboard_providers::carrier::CarrierName;

    use super::*;

    const CALL_SID: &str = "CA0123456789abcdef0123456789abcdef";

    fn at() -> Timestamp {
        Timestamp::from_millis(1_795_339_800_000)
    }

    fn key() -> ConversationKey {
        ConversationKey { account: AccountId::new(at(), 2), conversation: ConversationId::new(at(), 1) }
    }

    fn call() -> CarrierCallId {
        CarrierCallId::new(CarrierName::default(), CALL_SID).unwrap()
    }

    fn response_times(responses: u64) -> ResponseTimes {
        let mut times = ResponseTimes::default();
        for number in 1..=responses {
            let (transcript_ms, model_ms) = (300 + number, 10 * number);
            times.record_response(Latency { transcript_ms, model_ms, voice_ms: 90, send_ms: 1 });
        }
        times
    }

    fn lines(times: &ResponseTimes) -> Vec<Value> {
        times.metrics(key(), Some(&call())).lines(at())
    }

    #[test]
    fn the_note_has_median_and_p95_of_every_stage() {
        let expected = "20 answers: response p50 501 ms, p95 600 ms (transcript 310/319, model 100/190, \
                        voice 90/90, send 1/1)";
        assert_eq!(response_times(20).note().unwrap(), expected);
        let expected = "1 answer: response p50 402 ms, p95 402 ms (transcript 301/301, model 10/10, \
                        voice 90/90, send 1/1)";
        assert_eq!(response_times(1).note().unwrap(), expected);
        assert_eq!(response_times(0).note(), None);
    }

    #[test]
    fn a_call_is_one_line_of_metrics() {
        let mut times = response_times(2);
        times.record_greeting(140);
        times.record_greeting(900);
        let metric = |name: &str| json!({ "Name": name, "Unit": "Milliseconds" });
        let names = ["greeting_ms", "response_ms", "transcript_ms", "model_ms", "voice_ms", "send_ms"];
        let line = json!({
            "_aws": {
                "Timestamp": 1_795_339_800_000_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "Switchboard",
                    "Dimensions": [[]],
                    "Metrics": names.map(metric),
                }],
            },
            "account_id": key().account,
            "conversation_id": key().conversation,
            "call_sid": CALL_SID,
            "response_ms": [402, 413],
            "transcript_ms": [301, 302],
            "model_ms": [10, 20],
            "voice_ms": [90, 90],
            "send_ms": [1, 1],
            "greeting_ms": [140],
        });
        assert_eq!(lines(&times), [line]);
        assert!(!lines(&times)[0].to_string().contains('\n'));
    }

    #[test]
    fn a_line_has_at_most_a_hundred_values_of_a_metric() {
        let long = lines(&response_times(250));
        let counts: Vec<_> = long.iter().map(|line| line["response_ms"].as_array().unwrap().len()).collect();
        assert_eq!(counts, [100, 100, 50]);
    }

    #[test]
    fn unmeasured_values_are_no_metrics() {
        assert_eq!(lines(&response_times(0)), [Value::Null; 0]);
        let mut greeted = response_times(0);
        greeted.record_greeting(90);
        let [line] = &lines(&greeted)[..] else { panic!("one line") };
        let metrics = &line["_aws"]["CloudWatchMetrics"][0]["Metrics"];
        assert_eq!(*metrics, json!([{ "Name": "greeting_ms", "Unit": "Milliseconds" }]));
    }
}
