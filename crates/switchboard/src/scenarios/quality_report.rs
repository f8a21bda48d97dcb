//! `--report`: the turn-taking of each scenario and of the whole set, as Markdown or as `JUnit` XML.

use std::fmt::Write as _;

use quick_xml::escape::escape;
use switchboard_quality::{DeadAir, HeardWords, MIN_EVENTS, Mean, Panel, Rate, Side, SoundKind};

use super::measured_call::MeasuredCall;

/// One run of a scenario.
pub(super) struct ReportedRun {
    /// The scenario's file, without its folder and ending.
    pub(super) name: String,
    pub(super) about: String,
    pub(super) seconds: f64,
    /// Each failed expectation, or why the call could not be made.
    pub(super) faults: Vec<String>,
    /// None without a recording.
    pub(super) measured: Option<MeasuredCall>,
    pub(super) heard_words: HeardWords,
}

/// A scenario that was run several times.
struct Repeated<'a> {
    name: &'a str,
    passed: usize,
    runs: usize,
}

/// The name of a measure, its value as text, the number of its events.
type Line = (&'static str, Option<String>, u32);

/// The sum of all panels.
fn total(runs: &[ReportedRun]) -> Panel {
    let mut total = Panel::default();
    for measured in runs.iter().filter_map(|run| run.measured.as_ref()) {
        total.add(&measured.panel);
    }
    total
}

/// The share of scenarios that passed in one run and failed in another; none if each was run once.
pub(super) fn flake_rate(runs: &[ReportedRun]) -> Option<Rate> {
    let scenarios = repeated(runs);
    if scenarios.iter().all(|scenario| scenario.runs < 2) {
        return None;
    }
    let mut rate = Rate::default();
    for scenario in scenarios {
        rate.count(scenario.is_flaky());
    }
    Some(rate)
}

impl Repeated<'_> {
    fn is_flaky(&self) -> bool {
        (1..self.runs).contains(&self.passed)
    }
}

fn repeated(runs: &[ReportedRun]) -> Vec<Repeated<'_>> {
    let mut all: Vec<Repeated<'_>> = vec![];
    for run in runs {
        let index = all.iter().position(|known| known.name == run.name).unwrap_or_else(|| {
            all.push(Repeated { name: &run.name, passed: 0, runs: 0 });
            all.len() - 1
        });
        all[index].runs += 1;
        all[index].passed += usize::from(run.faults.is_empty());
    }
    all
}

/// The measures of the set. One with too few events has no value.
fn lines(runs: &[ReportedRun]) -> Vec<Line> {
    let panel = total(runs);
    let seconds = |mean: Mean| (mean.published().map(|value| format!("{value:.2} s")), mean.count);
    let rate = |rate: Rate| (rate.published().map(|value| format!("{value:.2}")), rate.total);
    let turns = panel.responses.total;
    let enough = panel.agent_interruption_rate().filter(|_| turns >= MIN_EVENTS);
    let interruptions = (enough.map(|value| format!("{value:.2}")), turns);
    let selectivity = (panel.selectivity().map(|value| format!("{value:.2}")), 0);
    let calls: Vec<_> =
        runs.iter().filter_map(|run| run.measured.as_ref()).map(|call| &call.quality).collect();
    let mut pauses = Rate::default();
    let (mut score, mut scored) = (0.0, 0_u32);
    let (mut dead_air, mut talk_over_ms) = (0_u32, 0_u32);
    for call in &calls {
        pauses.add(call.pauses_cut_off);
        dead_air += u32::try_from(dead_air_of_agent(&call.dead_air).count()).unwrap_or(u32::MAX);
        talk_over_ms = talk_over_ms.saturating_add(call.talk_over_ms);
        if let Some(value) = call.turn_score {
            (score, scored) = (score + value, scored + 1);
        }
    }
    let score = (scored >= MIN_EVENTS).then(|| format!("{:.2}", score / f64::from(scored)));
    let mut words = HeardWords::default();
    for run in runs {
        words.add(run.heard_words);
    }
    let count = u32::try_from(words.stored).unwrap_or(u32::MAX);
    let errors = words.rate().map(|rate| format!("{:.1} %", rate * 100.0));
    let measured = u32::try_from(calls.len()).unwrap_or(u32::MAX);
    let line = |name, (value, events)| (name, value, events);
    vec![
        line("L_R: time to the response", seconds(panel.response)),
        line("R_R: turns answered", rate(panel.responses)),
        line("L_Y: time to yield", seconds(panel.yielding)),
        line("R_Y: interruptions yielded to", rate(panel.yields)),
        line("I_A: interruptions by the agent per turn", interruptions),
        line("S_BC: backchannel ignored", rate(panel.ignored(SoundKind::Backchannel))),
        line("S_VT: vocal tics ignored", rate(panel.ignored(SoundKind::VocalTic))),
        line("S_ND: speech for others ignored", rate(panel.ignored(SoundKind::NonDirected))),
        line("selectivity: mean of the three", selectivity),
        line("noises ignored", rate(panel.ignored(SoundKind::Noise))),
        line("pauses within a turn cut off", rate(pauses)),
        ("turn score (EVA)", score, scored),
        ("dead air of the agent, over 3 s", Some(dead_air.to_string()), measured),
        ("talk-over", Some(format!("{:.1} s", f64::from(talk_over_ms) / 1_000.0)), measured),
        ("stored words recognised differently", errors, count),
    ]
}

fn dead_air_of_agent(all: &[DeadAir]) -> impl Iterator<Item = &DeadAir> {
    all.iter().filter(|silence| silence.whose == Side::Agent)
}

fn shown(value: Option<String>, events: u32) -> String {
    value.unwrap_or_else(
        || if events == 0 { "-".to_owned() } else { format!("- (under {MIN_EVENTS} events)") },
    )
}

/// The report as Markdown.
pub(super) fn markdown(runs: &[ReportedRun]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let failed = runs.iter().filter(|run| !run.faults.is_empty()).count();
    let _ = writeln!(out, "# Turn-taking\n\n{} calls, {failed} not as expected.\n\n## The set\n", runs.len());
    out.push_str("| measure | value | events |\n|---|---|---|\n");
    for (name, value, events) in lines(runs) {
        let _ = writeln!(out, "| {name} | {} | {events} |", shown(value, events));
    }
    out.push_str("\n## Sounds of the caller\n\n");
    out.push_str("| sound | agent stopped | agent went on | agent responded in silence | agent stayed silent |\n|---|---|---|---|---|\n");
    let panel = total(runs);
    for kind in SoundKind::ALL {
        let (stopped, responded) = (panel.stopped[kind as usize], panel.responded[kind as usize]);
        // In silence a turn wants a response: that is R_R.
        let silent = if kind == SoundKind::Turn { panel.responses } else { responded };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            name_of(kind),
            stopped.hits,
            stopped.total - stopped.hits,
            silent.hits,
            silent.total - silent.hits,
        );
    }
    out.push_str("\n## Each call\n\n");
    out.push_str("| scenario | result | turns | response ms p50/max | yielded | yield ms max | interruptions by agent | ignored | pauses cut off | talk-over ms | agent's dead air ms | score |\n");
    out.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for run in runs {
        let _ = writeln!(out, "| {} | {} |{}", run.name, verdict(run), cells(run.measured.as_ref()));
    }
    if let Some(rate) = flake_rate(runs) {
        let _ = writeln!(out, "\n## Flaky scenarios\n\n{} of {}.\n", rate.hits, rate.total);
        for Repeated { name, passed, runs } in repeated(runs).iter().filter(|scenario| scenario.is_flaky()) {
            let _ = writeln!(out, "- {name}: {passed} of {runs} runs passed");
        }
    }
    out
}

fn verdict(run: &ReportedRun) -> &'static str {
    if run.faults.is_empty() { "ok" } else { "FAILED" }
}

fn name_of(kind: SoundKind) -> &'static str {
    match kind {
        SoundKind::Turn => "words for the agent",
        SoundKind::Backchannel => "backchannel",
        SoundKind::VocalTic => "vocal tic",
        SoundKind::NonDirected => "speech for others",
        SoundKind::Noise => "noise",
    }
}

/// The cells of a call behind its name and result.
fn cells(measured: Option<&MeasuredCall>) -> String {
    let Some(MeasuredCall { quality, .. }) = measured else {
        return " not recorded | | | | | | | | | |".to_owned();
    };
    let none = || "-".to_owned();
    let of = |rate: Rate| if rate.total == 0 { none() } else { format!("{}/{}", rate.hits, rate.total) };
    let mut ignored = quality.backchannels;
    ignored.add(quality.noises);
    let longest =
        dead_air_of_agent(&quality.dead_air).map(|silence| silence.span.to_ms - silence.span.from_ms).max();
    let cells = [
        quality.turns.to_string(),
        quality.response_ms.map_or_else(none, |spread| format!("{}/{}", spread.p50, spread.max)),
        of(quality.yields),
        quality.yield_ms.map_or_else(none, |spread| spread.max.to_string()),
        quality.agent_interruptions.to_string(),
        of(ignored),
        of(quality.pauses_cut_off),
        quality.talk_over_ms.to_string(),
        longest.map_or_else(none, |ms| ms.to_string()),
        quality.turn_score.map_or_else(none, |score| format!("{score:.2}")),
    ];
    format!(" {} |", cells.join(" | "))
}

/// The report as `JUnit` XML: a test case per run, the measures of the set as properties.
pub(super) fn junit(runs: &[ReportedRun]) -> String {
    let failed = runs.iter().filter(|run| !run.faults.is_empty()).count();
    let seconds: f64 = runs.iter().map(|run| run.seconds).sum();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuite name=\"switchboard\" tests=\"{}\" failures=\"{failed}\" time=\"{seconds:.1}\">\n  <properties>",
        runs.len()
    );
    for (name, value, events) in lines(runs) {
        let value = text(&shown(value, events));
        let _ = writeln!(out, "    <property name=\"{}\" value=\"{value}\"/>", text(name));
    }
    if let Some(rate) = flake_rate(runs) {
        let _ = writeln!(
            out,
            "    <property name=\"flaky scenarios\" value=\"{} of {}\"/>",
            rate.hits, rate.total
        );
    }
    out.push_str("  </properties>\n");
    for ReportedRun { name, about, seconds, faults, .. } in runs {
        let _ = write!(
            out,
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.1}\"",
            text(name),
            text(about)
        );
        if faults.is_empty() {
            out.push_str("/>\n");
            continue;
        }
        let _ = writeln!(
            out,
            ">\n    <failure message=\"{}\">{}</failure>",
            text(&faults[0]),
            text(&faults.join("\n"))
        );
        out.push_str("  </testcase>\n");
    }
    out.push_str("</testsuite>\n");
    out
}

/// Text for an element or an attribute, without the characters that XML cannot hold.
fn text(text: &str) -> String {
    let allowed: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    escape(&allowed).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{
        super::measured_call::{
            measure,
            tests::{recorded, script},
        },
        *,
    };

    fn run(name: &str, faults: &[&str]) -> ReportedRun {
        ReportedRun {
            name: name.into(),
            about: "a caller <asks> & waits".into(),
            seconds: 9.04,
            faults: faults.iter().map(|fault| (*fault).to_owned()).collect(),
            measured: measure(&recorded(), &script()),
            heard_words: HeardWords { stored: 50, errors: 1 },
        }
    }

    #[test]
    fn a_rate_of_the_set_needs_ten_events() {
        let few = markdown(&[run("a", &[])]);
        assert!(few.contains("| R_Y: interruptions yielded to | - (under 10 events) | 1 |"), "{few}");
        assert!(few.contains("| S_ND: speech for others ignored | - | 0 |"), "{few}");
        let runs: Vec<_> = (0..10).map(|n| run(&n.to_string(), &[])).collect();
        let many = markdown(&runs);
        for line in [
            "| L_R: time to the response | 0.80 s | 10 |",
            "| R_Y: interruptions yielded to | 1.00 | 10 |",
            "| S_BC: backchannel ignored | 1.00 | 10 |",
            "| turn score (EVA) | 1.00 | 10 |",
            "| stored words recognised differently | 2.0 % | 500 |",
            "| words for the agent | 10 | 0 | 10 | 0 |",
            "| backchannel | 0 | 10 | 0 | 0 |",
        ] {
            assert!(many.contains(line), "{line}\n{many}");
        }
        assert!(!many.contains("Flaky"), "{many}");
    }

    #[test]
    fn a_call_is_a_row() {
        let mut unrecorded = run("b", &["x | y"]);
        unrecorded.measured = None;
        let report = markdown(&[run("a", &[]), unrecorded]);
        assert!(
            report.contains("| a | ok | 2 | 800/800 | 1/1 | 400 | 0 | 1/1 | - | 400 | - | 1.00 |"),
            "{report}"
        );
        assert!(report.contains("| b | FAILED | not recorded |"), "{report}");
    }

    #[test]
    fn a_scenario_that_passes_now_and_then_is_flaky() {
        let runs = [run("a", &[]), run("b", &["x"]), run("a", &["y"]), run("b", &["x"])];
        assert_eq!(flake_rate(&runs), Some(Rate { hits: 1, total: 2 }));
        assert_eq!(flake_rate(&runs[..2]), None);
        let report = markdown(&runs);
        assert!(report.contains("1 of 2.\n\n- a: 1 of 2 runs passed\n"), "{report}");
    }

    #[test]
    fn junit_has_a_test_case_per_run() {
        let xml = junit(&[run("a", &[]), run("b", &["says \"<x>\" | it \u{1}is"])]);
        assert!(xml.contains("tests=\"2\" failures=\"1\" time=\"18.1\""), "{xml}");
        assert!(
            xml.contains("classname=\"a\" name=\"a caller &lt;asks&gt; &amp; waits\" time=\"9.0\"/>"),
            "{xml}"
        );
        assert!(xml.contains("<failure message=\"says &quot;&lt;x&gt;&quot; | it is\">"), "{xml}");
        let mut reader = quick_xml::Reader::from_str(&xml);
        loop {
            match reader.read_event() {
                Ok(quick_xml::events::Event::Eof) => break,
                event => drop(event.unwrap()),
            }
        }
    }
}
