//! Progress: drawn on a terminal, else one line per step and never one per tick.

use std::fmt::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::out::{Out, clean};

/// Shows how far something is.
pub(crate) struct Shown {
    out: Out,
    bar: Option<ProgressBar>,
    /// What was said last, so that it is said once.
    last: Vec<String>,
}

impl Shown {
    /// Nothing is shown until something is known.
    pub(crate) fn new(out: Out) -> Self {
        Self { out, bar: None, last: Vec::new() }
    }

    fn bar(&mut self) -> &ProgressBar {
        self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        })
    }

    /// A step, with how far it is in bytes.
    pub(crate) fn step(&mut self, step: &str, done: u64, total: Option<u64>) {
        let step = clean(step).into_owned();
        if self.out.draws() {
            let template = match total {
                Some(_) => {
                    "{spinner} {msg} [{bar:24}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}"
                }
                None if done > 0 => "{spinner} {msg} {binary_bytes} {binary_bytes_per_sec}",
                None => "{spinner} {msg} {elapsed}",
            };
            let bar = self.bar();
            // The templates are ours: they are valid, and a plain spinner does as well.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.set_position(done);
            bar.set_message(step);
        } else if self.last.first() != Some(&step) {
            self.out.talk(&step);
            self.last = vec![step];
        }
    }

    /// What is waited for, a line each.
    pub(crate) fn pending(&mut self, lines: &[String]) {
        let lines: Vec<String> = lines.iter().map(|line| clean(line).into_owned()).collect();
        if self.out.draws() {
            let more = lines.len().saturating_sub(1);
            let mut message = super::table::cut(lines.first().map_or("", String::as_str), 90);
            if more > 0 {
                let _ = write!(message, " (and {more} more)");
            }
            let bar = self.bar();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
                bar.set_style(style);
            }
            bar.set_message(message);
        } else {
            for line in lines.iter().filter(|line| !self.last.contains(line)) {
                self.out.talk(line);
            }
            self.last = lines;
        }
    }

    /// Takes what was drawn away.
    pub(crate) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.clear();
    }
}
