//! What a sweep tells its operator: a log line in the embedded metric format, which the log service
//! reads as metrics, so that nothing has to be called for it.

use std::io::Write as _;

use serde_json::json;
use switchboard_model::time::Timestamp;
use switchboard_runtime as system;

use crate::Swept;

/// Writes the line. It must be nothing but JSON, so it does not go through the log.
pub fn write(swept: &Swept) {
    let line = line(swept, system::now());
    // Without standard output there is nobody to tell.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// The line, for a sweep at `now`. The lag is the time since the oldest deadline that was found.
#[must_use]
pub fn line(swept: &Swept, now: Timestamp) -> String {
    let metric = |name, unit| json!({ "Name": name, "Unit": unit });
    json!({
        "_aws": {
            "Timestamp": now.as_millis(),
            "CloudWatchMetrics": [{
                "Namespace": "Switchboard",
                "Dimensions": [[]],
                "Metrics": [
                    metric("SweepLag", "Seconds"),
                    metric("SweepEnded", "Count"),
                    metric("SweepFailed", "Count"),
                    metric("DeliveriesQueued", "Count"),
                ],
            }],
        },
        "SweepLag": swept.lag.as_secs(),
        "SweepEnded": swept.ended,
        "SweepFailed": swept.failed,
        "DeliveriesQueued": swept.queued,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    #[test]
    fn every_metric_that_is_announced_is_there() {
        let swept = Swept {
            looked_at: 9,
            ended: 3,
            failed: 1,
            lag: Duration::from_millis(61_900),
            queued: 7,
            cleared: 0,
        };
        let line = line(&swept, Timestamp::from_millis(1_795_339_800_120));
        assert!(!line.contains('\n'));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["_aws"]["Timestamp"], 1_795_339_800_120_i64);
        let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap().iter();
        let values: Vec<_> =
            metrics.map(|metric| line[metric["Name"].as_str().unwrap()].as_u64().unwrap()).collect();
        assert_eq!(values, [61, 3, 1, 7]);
    }
}
