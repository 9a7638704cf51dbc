//! A job's progress on a terminal: one line on the standard error output, which is gone in the end.

use std::time::Duration;

use acp_wire_model::job::Job;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the line moves, so that people see that something is alive.
pub(crate) const TICK: Duration = Duration::from_millis(120);

const WITH_PERCENT: &str = "{spinner} {prefix} [{bar:30}] {percent:>3}% {msg} {elapsed}";
const WITHOUT_PERCENT: &str = "{spinner} {prefix} {msg} {elapsed}";

/// The line. Without a terminal it is nothing.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
        bar.set_style(style(WITHOUT_PERCENT));
        Self { bar }
    }

    /// Shows where the job stands.
    pub(crate) fn show(&self, job: &Job) {
        self.bar.set_prefix(format!("{} {}", job.verb, job.object_name));
        self.bar.set_message(job.step.clone());
        self.bar.set_style(style(if job.percent.is_some() { WITH_PERCENT } else { WITHOUT_PERCENT }));
        self.bar.set_position(u64::from(job.percent.unwrap_or_default()));
        self.bar.tick();
    }

    /// Shows something else about it.
    pub(crate) fn say(&self, text: &str) {
        self.bar.set_message(text.to_owned());
        self.bar.tick();
    }

    /// Moves the line.
    pub(crate) fn tick(&self) {
        self.bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants").progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in [WITH_PERCENT, WITHOUT_PERCENT] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
