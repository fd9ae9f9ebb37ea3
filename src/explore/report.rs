//! What a person reads of an exploration.

use std::fmt;

use super::{Deciding, Exploration, Explored};

impl Exploration {
    /// As the command line prints it, with colours or without.
    pub fn render(&self, colour: bool) -> String {
        let mut text = self.verdict_lines(colour);
        if let Some(times) = &self.time_to_failure {
            text.push_str(&format!("\n{times}"));
        }
        if let Some(first) = &self.first_failure {
            let preemptions = match first.preemptions {
                1 => "1 preemption".to_string(),
                many => format!("{many} preemptions"),
            };
            text.push_str(&format!(
                "\nthe first that fails is schedule {}, with {preemptions}:\n\n{}",
                first.schedule,
                first.report.render(colour)
            ));
            if let Some(contrast) = &first.contrast {
                text.push_str(&format!("\n{contrast}"));
            }
        }
        text
    }

    fn verdict_lines(&self, colour: bool) -> String {
        let it = &self.configuration;
        let outcome = match self.failing {
            0 => format!("none of {} schedules fails", self.schedules),
            failing => format!("{failing} of {} schedules fail", self.schedules),
        };
        let outcome = match (colour, self.is_clean()) {
            (false, _) => outcome,
            (true, true) => format!("\x1b[32m{outcome}\x1b[0m"),
            (true, false) => format!("\x1b[1;31m{outcome}\x1b[0m"),
        };
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let words = match words.join(" ") {
            none if none.is_empty() => none,
            words => format!(" ({words})"),
        };
        let small = it.small_form().map_or(String::new(), |small| {
            let about = small.about.trim_start_matches("1: ");
            format!("the small form: {about}; --set small=0 takes the whole program\n")
        });
        format!(
            "{}: {outcome}{words}\n{small}{}, {}; {} steps; {}: {}\n",
            it.subject(),
            it.place(),
            self.seeds(),
            self.steps,
            self.explored,
            self.meaning(),
        )
    }

    fn seeds(&self) -> String {
        let chooser = &self.configuration.chooser;
        match (chooser.searches(), self.schedules) {
            (true, _) => chooser.to_string(),
            (false, 1) => format!("{chooser} seed {}", self.seed),
            (false, many) => {
                let last = self.seed.wrapping_add(many.saturating_sub(1));
                format!("{chooser} seeds {} to {last}", self.seed)
            }
        }
    }

    fn meaning(&self) -> String {
        match self.explored {
            Explored::Exhaustive => "there is no other interleaving".to_string(),
            Explored::Bounded(1) => "no interleaving with one preemption is left".to_string(),
            Explored::Bounded(most) => {
                format!("no interleaving with up to {most} preemptions is left")
            }
            Explored::Sampled(_) => "others may differ".to_string(),
        }
    }
}

impl fmt::Display for Exploration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Exploration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exploration")
            .field("configuration", &self.configuration)
            .field("seed", &self.seed)
            .field("schedules", &self.schedules)
            .field("failing", &self.failing)
            .field("explored", &self.explored)
            .field("words", &self.words)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Deciding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the order of two steps on {} decides. It fails when\n  step {} {}\ncomes before\n  step \
             {} {};\nthe other way round the same schedule passes\n",
            self.object, self.first.0, self.first.1, self.second.0, self.second.1
        )
    }
}
