//! `replay(file)`: the recorded choices. It never runs on as if nothing had happened: the first
//! step that is not the recorded one ends the run, and says where.

use super::{Choice, Chooser, End};
use crate::replay_file::Segment;
use crate::{ActorId, Digest};

/// Follows a saved run.
pub struct ReplayChooser {
    segments: Vec<Segment>,
    /// The last step of each segment.
    ends: Vec<u64>,
    steps: u64,
    timed: bool,
    at: usize,
}

impl ReplayChooser {
    /// For these choices of a run of `steps` steps; `timed` if simulated time decided then.
    pub fn new(segments: Vec<Segment>, steps: u64, timed: bool) -> ReplayChooser {
        let mut end = 0;
        let ends = segments
            .iter()
            .map(|segment| {
                end += u64::from(segment.steps);
                end
            })
            .collect();
        ReplayChooser {
            segments,
            ends,
            steps,
            timed,
            at: 0,
        }
    }

    /// The segment that `step` belongs to.
    fn seek(&mut self, step: u64) -> Option<usize> {
        while *self.ends.get(self.at)? < step {
            self.at += 1;
        }
        Some(self.at)
    }

    fn first_step(&self, at: usize) -> u64 {
        self.ends[at] - u64::from(self.segments[at].steps) + 1
    }
}

fn diverged(step: u64, what: &str) -> String {
    format!("the run diverges from the file at step {step}: {what}")
}

impl Chooser for ReplayChooser {
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String> {
        let step = choice.step;
        let Some(at) = self.seek(step) else {
            let what = format!(
                "the file ends after step {}, and the run goes on",
                self.steps
            );
            return Err(diverged(step, &what));
        };
        let segment = self.segments[at];
        if choice.enabled.contains(&segment.actor) {
            return Ok(segment.actor);
        }
        let describe = |actor: &ActorId| {
            let request = (choice.wants)(*actor);
            format!("{actor} (to {} {})", request.access, request.object)
        };
        let others: Vec<String> = choice.enabled.iter().map(describe).collect();
        let what = format!(
            "{} should go on (it takes steps {} to {}, the first to {} a {:?}), and only these \
             can: {}",
            segment.actor,
            self.first_step(at),
            self.ends[at],
            segment.first_access,
            segment.first_kind,
            others.join(", ")
        );
        Err(diverged(step, &what))
    }

    fn reseed(&mut self, _seed: u64) {
        self.at = 0;
    }

    fn watches(&self) -> bool {
        true
    }

    fn taken(&mut self, step: u64, actor: ActorId, digest: Digest) -> Result<(), String> {
        let Some(at) = self.seek(step) else {
            return Ok(());
        };
        if self.ends[at] == step && self.segments[at].check != digest.short() {
            let what = format!(
                "what {actor} did between step {} and this one is not what the file has",
                self.first_step(at)
            );
            return Err(diverged(step, &what));
        }
        Ok(())
    }

    fn ended(&mut self, end: &End<'_>) -> Result<(), String> {
        let steps = end.steps;
        if steps < self.steps {
            let what = format!(
                "the run is over, and the file goes on to step {}",
                self.steps
            );
            return Err(diverged(steps, &what));
        }
        Ok(())
    }

    fn keeps_time(&self) -> bool {
        self.timed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, CpuId, Kind, Object, Request};

    fn segment(cpu: u16, steps: u32, check: u32) -> Segment {
        Segment {
            actor: ActorId::cpu(CpuId(cpu)),
            steps,
            first_kind: Kind::Lock,
            first_access: Access::Lock,
            check,
        }
    }

    #[test]
    fn a_divergence_names_the_step_and_both_sides() {
        let mut chooser = ReplayChooser::new(vec![segment(0, 2, 0), segment(1, 3, 0)], 5, true);
        let request = Request::touch(Object::new(Kind::Zone, 0), Access::Update, 1);
        let enabled = [ActorId::cpu(CpuId(0))];
        let wants = |_| request;
        let choice = |step| Choice {
            step,
            last: None,
            enabled: &enabled,
            wants: &wants,
            touched: &[],
            interrupted: &[],
            masked: &[],
            violated: false,
        };
        assert_eq!(chooser.choose(&choice(2)), Ok(ActorId::cpu(CpuId(0))));
        assert_eq!(
            chooser.choose(&choice(3)).expect_err("CPU 1 cannot"),
            "the run diverges from the file at step 3: CPU 1 should go on (it takes steps 3 to 5, \
             the first to lock a Lock), and only these can: CPU 0 (to update zone 0)"
        );
        assert!(
            chooser
                .choose(&choice(6))
                .expect_err("over")
                .contains("ends after step 5")
        );
        let end = |steps| End {
            steps,
            touched: &[],
            pending: &[],
        };
        assert!(chooser.ended(&end(4)).is_err());
        assert!(chooser.ended(&end(5)).is_ok());
    }

    #[test]
    fn another_digest_at_the_end_of_a_run_of_steps_is_a_divergence() {
        let mut digest = Digest::new();
        digest.fold(1, 2);
        let actor = ActorId::cpu(CpuId(0));
        let mut right = ReplayChooser::new(vec![segment(0, 1, digest.short())], 1, false);
        assert_eq!(right.taken(1, actor, digest), Ok(()));
        let mut wrong = ReplayChooser::new(vec![segment(0, 1, !digest.short())], 1, false);
        assert!(wrong.taken(1, actor, digest).is_err());
    }
}
