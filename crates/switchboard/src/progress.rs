//! Progress on stderr: one line per finished step with its seconds and, on a terminal, one moving line per step that
//! is being worked on. Elsewhere, such as in CI, only plain lines are written.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Interval at which a long step writes its note when stderr is no terminal.
const REMINDER: Duration = Duration::from_secs(10);

/// Shows progress. Cheap to clone; steps may run in parallel.
#[derive(Clone)]
pub(crate) struct Progress {
    /// Absent where stderr is no terminal.
    bars: Option<MultiProgress>,
}

/// A step that is being worked on. Dropping it without [`Step::done`] removes its line: the error that ended the
/// step is shown instead.
pub(crate) struct Step {
    progress: Progress,
    title: String,
    started: Instant,
    bar: Option<ProgressBar>,
    reminded: Mutex<Instant>,
}

impl Progress {
    /// Shows progress on stderr.
    pub(crate) fn stderr() -> Self {
        let bars = std::io::stderr()
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { bars }
    }

    /// Begins a step; `title` names the work, such as "building the functions".
    pub(crate) fn step(&self, title: &str) -> Step {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{msg}").expect("the template has one known key");
            let bar = bars.add(ProgressBar::new_spinner().with_style(style));
            bar.set_message(title.to_owned());
            bar.tick();
            bar
        });
        let started = Instant::now();
        Step { progress: self.clone(), title: title.to_owned(), started, bar, reminded: Mutex::new(started) }
    }

    /// Writes one line that stays.
    pub(crate) fn say(&self, line: &str) {
        // Progress that cannot be shown must not stop the work.
        match &self.bars {
            Some(bars) => drop(bars.println(line)),
            None => eprintln!("{line}"),
        }
    }
}

impl Step {
    /// Shows how far the step is, such as "12 of 40".
    pub(crate) fn note(&self, note: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} ({note})", self.title));
            return;
        }
        let mut reminded = self.reminded.lock().unwrap_or_else(PoisonError::into_inner);
        if reminded.elapsed() >= REMINDER {
            *reminded = Instant::now();
            self.progress.say(&format!("          {}: {note}", self.title));
        }
    }

    /// Ends the step with a line that stays: its seconds, its title, and `detail` unless that is empty.
    pub(crate) fn done(self, detail: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.progress.say(&format!("{seconds:6.1} s  {}{detail}", self.title));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
