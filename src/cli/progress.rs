//! Progress of a run or an exploration, on a terminal, once it takes longer than a second.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line that shows the steps taken.
pub(super) struct Progress {
    bar: ProgressBar,
    what: &'static str,
}

impl Progress {
    pub fn new(what: &'static str) -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
            bar.set_style(style);
        }
        Progress { bar, what }
    }

    /// Called now and then. Only this reads the host's clock, and the machine never sees it.
    pub fn tick(&self, steps: u64) {
        if self.bar.is_hidden() && self.bar.elapsed() > Duration::from_secs(1) {
            // Draws nothing when standard error is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_message(format!(
            "{}: {} million steps",
            self.what,
            steps / 1_000_000
        ));
        self.bar.tick();
    }
}

/// A bar that shows the schedules made, and how long the rest will take.
pub(super) struct Schedules {
    bar: ProgressBar,
}

impl Schedules {
    pub fn new() -> Schedules {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Schedules { bar }
    }

    /// Called some ten times a second.
    pub fn tick(&self, progress: crate::Progress) {
        if self.bar.is_hidden() && self.bar.elapsed() > Duration::from_secs(1) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let template = match progress.of {
            Some(of) => {
                self.bar.set_length(of);
                "{bar:30} {human_pos} of {human_len} schedules, {msg} [{elapsed}, {eta} left]"
            }
            None => "{spinner} {human_pos} schedules, {msg} [{elapsed}]",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar
            .set_message(format!("{} failing", progress.failing));
        self.bar.set_position(progress.schedules);
    }
}

/// A bar that shows the rows judged.
pub(super) struct Rows {
    bar: ProgressBar,
}

impl Rows {
    pub fn new() -> Rows {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} rows [{elapsed}]")
        {
            bar.set_style(style);
        }
        Rows { bar }
    }

    /// Called now and then.
    pub fn tick(&self, done: usize, all: usize) {
        if self.bar.is_hidden() && self.bar.elapsed() > Duration::from_secs(1) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_length(all as u64);
        self.bar.set_position(done as u64);
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Schedules {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
