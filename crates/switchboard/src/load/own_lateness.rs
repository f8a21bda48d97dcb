//! The lateness of the agent's frames when the worker sent them, from its replay log: by the worker's own clock, so without
//! any delay of the simulated callers. It is defined like theirs (`switchboard_sandbox`, module `canned`).

use std::time::Duration;

use switchboard_dialogue::{Output, replay::Log};
use switchboard_runtime::percentiles::percentile;
use switchboard_sandbox::Percentiles;

/// How far an agent may send audio ahead of real time.
const AHEAD: Duration = Duration::from_millis(400);
const FRAME: Duration = Duration::from_millis(20);

/// The lateness of each frame in microseconds, from `from_end` to `until_end` before the end of the log.
pub(super) fn of(log: &str, from_end: Duration, until_end: Duration) -> anyhow::Result<Vec<u64>> {
    let log = Log::parse(log)?;
    let end = log.steps.last().map_or(Duration::ZERO, |step| Duration::from_micros(step.at.0));
    let window = end.saturating_sub(from_end)..=end.saturating_sub(until_end);
    let mut found = vec![];
    // When the first frame of the utterance was sent, and the audio since then.
    let mut utterance: Option<(Duration, Duration)> = None;
    for step in &log.steps {
        let at = Duration::from_micros(step.at.0);
        for output in &step.outputs {
            match output {
                Output::Clear => utterance = None,
                Output::Send { audio, .. } => {
                    let (began, mut sent) =
                        utterance.filter(|(began, sent)| *began + *sent > at).unwrap_or((at, Duration::ZERO));
                    let end = sent + *audio;
                    while sent < end {
                        sent = end.min(sent + FRAME);
                        if window.contains(&at) {
                            let late = at.saturating_sub(began + sent.saturating_sub(AHEAD));
                            found.push(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
                        }
                    }
                    utterance = Some((began, sent));
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

/// The distribution of some times in microseconds.
pub(super) fn percentiles(mut times: Vec<u64>) -> Option<Percentiles> {
    times.sort_unstable();
    let milliseconds =
        |percent| Some(f64::from(u32::try_from(percentile(&times, percent)?).unwrap_or(u32::MAX)) / 1000.0);
    Some(Percentiles { p50: milliseconds(50)?, p99: milliseconds(99)? })
}

#[cfg(test)]
mod tests {
    use switchboard_dialogue::{
        CallTime, ClauseId, EngineSettings, Input,
        replay::{Header, LoggedStep},
    };

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn log(steps: &[(u64, Output)]) -> String {
        let header = serde_json::to_string(&Header::new(EngineSettings::default())).unwrap();
        let steps = steps.iter().map(|(ms, output)| {
            let step =
                LoggedStep { at: CallTime(ms * 1000), input: Input::Wake, outputs: vec![output.clone()] };
            serde_json::to_string(&step).unwrap()
        });
        [header].into_iter().chain(steps).map(|line| line + "\n").collect()
    }

    fn send(ms: u32) -> Output {
        Output::Send { clause: ClauseId(0), audio: MS * ms }
    }

    #[test]
    fn a_frame_is_due_400_ms_before_its_turn() {
        let log = log(&[
            (100, send(400)),
            (121, send(20)),
            (145, send(20)),
            (2_000, send(20)),
            (2_001, Output::Clear),
            (2_100, send(20)),
        ]);
        let late = of(&log, Duration::from_secs(9), Duration::ZERO).unwrap();
        assert_eq!(late.len(), 24);
        assert_eq!((late[20], late[21]), (1_000, 5_000));
        assert_eq!(late[22..], [0, 0], "each begins an utterance");
    }

    #[test]
    fn only_the_frames_of_the_measurement_count() {
        let log = log(&[(0, send(400)), (1_000, send(20)), (2_000, send(40)), (3_000, Output::Clear)]);
        assert_eq!(of(&log, MS * 1_500, MS * 500).unwrap(), [0, 0]);
        assert_eq!(percentiles(vec![]), None);
        assert_eq!(percentiles(vec![3_000, 1_000]), Some(Percentiles { p50: 1.0, p99: 3.0 }));
    }
}
