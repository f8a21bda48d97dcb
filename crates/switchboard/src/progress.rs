//! What a person sees while long things happen: one line per finished step with its seconds and,
//! on a terminal, one moving line that says what is being worked on.

use std::io::{IsTerminal, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Off a terminal, a step that is still at work says so this often.
const REMINDER: Duration = Duration::from_secs(10);

/// The moving line is cut here so that it never wraps: a wrapped line cannot be redrawn.
const LINE_CHARS: usize = 78;

/// Where progress is shown (stderr). Cheap to clone; steps may run in parallel.
#[derive(Clone)]
pub(crate) struct Progress {
    screen: Arc<Mutex<Screen>>,
}

struct Screen {
    terminal: bool,
    next_id: u64,
    active: Vec<Active>,
}

struct Active {
    id: u64,
    title: String,
    note: String,
    reminded: Instant,
}

/// One piece of work under way. Dropped without [`Step::done`] it vanishes without a word: the error
/// that ended it speaks for it.
pub(crate) struct Step {
    progress: Progress,
    id: u64,
    started: Instant,
}

impl Progress {
    /// Shows progress on stderr.
    pub(crate) fn stderr() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { screen: Arc::new(Mutex::new(Screen { terminal, next_id: 0, active: Vec::new() })) }
    }

    /// Begins a step; `title` says what is being done ("building the functions").
    pub(crate) fn step(&self, title: &str) -> Step {
        let id = self.with(|screen| {
            let id = screen.next_id;
            screen.next_id += 1;
            screen.active.push(Active {
                id,
                title: title.to_owned(),
                note: String::new(),
                reminded: Instant::now(),
            });
            screen.draw();
            id
        });
        Step { progress: self.clone(), id, started: Instant::now() }
    }

    /// Writes one line that stays.
    pub(crate) fn say(&self, line: &str) {
        self.with(|screen| screen.line(line));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Screen) -> T) -> T {
        act(&mut self.screen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Step {
    /// Says how far it is ("12 of 40").
    pub(crate) fn note(&self, note: &str) {
        self.progress.with(|screen| screen.note(self.id, note));
    }

    /// Ends the step with a line that stays: seconds, title, and `detail` if there is any.
    pub(crate) fn done(self, detail: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        self.progress.with(|screen| {
            let Some(index) = screen.active.iter().position(|active| active.id == self.id) else { return };
            let title = screen.active.remove(index).title;
            let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
            screen.line(&format!("{seconds:6.1} s  {title}{detail}"));
        });
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.progress.with(|screen| {
            screen.active.retain(|active| active.id != self.id);
            screen.draw();
        });
    }
}

impl Screen {
    fn note(&mut self, id: u64, note: &str) {
        let terminal = self.terminal;
        let Some(active) = self.active.iter_mut().find(|active| active.id == id) else { return };
        note.clone_into(&mut active.note);
        if terminal {
            self.draw();
        } else if active.reminded.elapsed() >= REMINDER {
            active.reminded = Instant::now();
            let line = format!("          {}: {note}", active.title);
            self.line(&line);
        }
    }

    fn line(&self, line: &str) {
        self.erase();
        eprintln!("{line}");
        self.draw();
    }

    fn erase(&self) {
        if self.terminal {
            eprint!("\r\x1b[2K");
        }
    }

    fn draw(&self) {
        if !self.terminal {
            return;
        }
        let work: Vec<String> = self
            .active
            .iter()
            .map(|active| match active.note.as_str() {
                "" => active.title.clone(),
                note => format!("{} ({note})", active.title),
            })
            .collect();
        let line: String = work.join(", ").chars().take(LINE_CHARS).collect();
        self.erase();
        eprint!("{line}");
        // Progress that cannot be shown must not stop the work.
        let _ = std::io::stderr().flush();
    }
}
