//! The metrics of a sweep, which the alarms of `template.yaml` watch.

use switchboard_runtime::emf::{Metrics, Unit};

use crate::Swept;

impl Swept {
    /// The metrics of this sweep. `SweepLag` is the time since the oldest deadline that was found.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let count = |metrics: Metrics, name, value| metrics.value(name, Unit::Count, value as u64);
        let metrics = Metrics::new().value("SweepLag", Unit::Seconds, self.lag.as_secs());
        let metrics = count(metrics, "SweepEnded", self.ended);
        let metrics = count(metrics, "SweepFailed", self.failed);
        count(metrics, "DeliveriesQueued", self.queued)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use switchboard_model::time::Timestamp;

    use super::*;

    #[test]
    fn a_sweep_is_one_line_with_every_metric() {
        let swept = Swept {
            looked_at: 9,
            ended: 3,
            failed: 1,
            lag: Duration::from_millis(61_900),
            queued: 7,
            cleared: 0,
            joined: 0,
        };
        let lines = swept.metrics().lines(Timestamp::from_millis(1_795_339_800_120));
        let [line] = &lines[..] else { panic!("one line: {lines:?}") };
        assert!(!line.to_string().contains('\n'));
        assert_eq!(line["_aws"]["Timestamp"], 1_795_339_800_120_i64);
        let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap().iter();
        let values: Vec<_> =
            metrics.map(|metric| line[metric["Name"].as_str().unwrap()].as_u64().unwrap()).collect();
        assert_eq!(values, [61, 3, 1, 7]);
    }
}
