//! `replay(file)`: the recorded choices. It never runs on as if nothing had happened: the first
//! step that is not the recorded one ends the run, and says where.

use super::{Choice, Chooser};
use crate::replay_file::Segment;
use crate::{Access, ActorId, Digest, Kind, Request, Role};

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

    /// What the file has for `step`, which is in segment `at`.
    fn expected(&self, at: usize, step: u64) -> String {
        let segment = &self.segments[at];
        let first = self.first_step(at);
        if step == first {
            let (access, kind) = (segment.first_access, segment.first_kind);
            format!("{} to {access} something of kind {kind:?}", segment.actor)
        } else {
            format!(
                "step {} of the {} that {} makes from step {first}",
                step - first + 1,
                segment.steps,
                segment.actor
            )
        }
    }
}

fn diverged(step: u64, what: &str) -> String {
    format!("the run diverges from the file at step {step}: {what}")
}

/// Whether `request` can be the step that was recorded with this kind and access. Two steps are
/// recorded as something else than is announced: an access of user mode, announced by its address
/// and recorded by what it turned out to touch; and an interrupt that a handler let in, which
/// comes before the step that this handler announced.
fn agrees(request: &Request, segment: &Segment) -> bool {
    let kind = request.object.kind();
    let same = (kind, request.access) == (segment.first_kind, segment.first_access);
    let resolved = kind == Kind::User && request.access == segment.first_access;
    let nested = matches!(segment.actor.role(), Role::Irq(_))
        && (segment.first_kind, segment.first_access) == (Kind::Irq, Access::Update);
    same || resolved || nested
}

/// What each of these would do; the first few, where there are hundreds.
fn wishes(enabled: &[(ActorId, Request)]) -> String {
    const MOST: usize = 8;
    let mut text: Vec<String> = enabled
        .iter()
        .take(MOST)
        .map(|(actor, request)| format!("{actor} (to {} {})", request.access, request.object))
        .collect();
    if enabled.len() > MOST {
        text.push(format!("{} more", enabled.len() - MOST));
    }
    text.join(", ")
}

impl Chooser for ReplayChooser {
    fn choose(&mut self, choice: &Choice<'_>) -> Result<ActorId, String> {
        let step = choice.step;
        let Some(at) = self.seek(step) else {
            let what = format!(
                "the file ends after step {}, and the run goes on with {}",
                self.steps,
                wishes(choice.enabled)
            );
            return Err(diverged(step, &what));
        };
        let segment = self.segments[at];
        let found = choice
            .enabled
            .iter()
            .find(|(actor, _)| *actor == segment.actor);
        let what = match found {
            Some((_, request)) if step == self.first_step(at) && !agrees(request, &segment) => {
                format!(
                    "the file has {}, and it wants to {} {}",
                    self.expected(at, step),
                    request.access,
                    request.object
                )
            }
            Some(_) => return Ok(segment.actor),
            None => format!(
                "the file has {}, and only these can go on: {}",
                self.expected(at, step),
                wishes(choice.enabled)
            ),
        };
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
            let first = self.first_step(at);
            let what =
                format!("what {actor} did in steps {first} to {step} is not what the file has");
            return Err(diverged(step, &what));
        }
        Ok(())
    }

    fn ended(&mut self, steps: u64) -> Result<(), String> {
        if steps < self.steps {
            let what = format!(
                "the run ended after step {steps}, the file has {}",
                self.steps
            );
            return Err(diverged(steps + 1, &what));
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
    use crate::{CpuId, Object};

    fn cpu(cpu: u16) -> ActorId {
        ActorId::cpu(CpuId(cpu))
    }

    /// Steps of `actor`, the first of which takes a lock.
    fn segment(actor: ActorId, steps: u32, check: u32) -> Segment {
        Segment {
            actor,
            steps,
            first_kind: Kind::Lock,
            first_access: Access::Lock,
            check,
        }
    }

    fn touch(kind: Kind, access: Access) -> Request {
        Request::touch(Object::new(kind, 0), access, 1)
    }

    fn choose(
        chooser: &mut ReplayChooser,
        step: u64,
        enabled: &[(ActorId, Request)],
    ) -> Result<ActorId, String> {
        chooser.choose(&Choice {
            step,
            last: None,
            enabled,
        })
    }

    fn two_segments() -> ReplayChooser {
        ReplayChooser::new(vec![segment(cpu(0), 2, 0), segment(cpu(1), 3, 0)], 5, true)
    }

    #[test]
    fn the_recorded_actor_is_chosen_among_others_and_again_after_a_reseed() {
        let lock = touch(Kind::Lock, Access::Lock);
        let enabled = [(cpu(0), lock), (cpu(1), lock)];
        let mut chooser = two_segments();
        for _ in 0..2 {
            let chosen: Vec<_> = (1..=5)
                .map(|step| choose(&mut chooser, step, &enabled).expect("recorded"))
                .collect();
            assert_eq!(chosen, [cpu(0), cpu(0), cpu(1), cpu(1), cpu(1)]);
            chooser.reseed(9);
        }
    }

    #[test]
    fn a_divergence_names_the_step_and_both_sides() {
        let enabled = [(cpu(0), touch(Kind::Zone, Access::Update))];
        let mut chooser = two_segments();
        assert_eq!(choose(&mut chooser, 2, &enabled), Ok(cpu(0)));
        assert_eq!(
            choose(&mut chooser, 3, &enabled).expect_err("CPU 1 cannot go on"),
            "the run diverges from the file at step 3: the file has CPU 1 to lock something of \
             kind Lock, and only these can go on: CPU 0 (to update zone 0)"
        );
        assert_eq!(
            choose(&mut chooser, 4, &enabled).expect_err("CPU 1 cannot go on"),
            "the run diverges from the file at step 4: the file has step 2 of the 3 that CPU 1 \
             makes from step 3, and only these can go on: CPU 0 (to update zone 0)"
        );
        assert_eq!(
            choose(&mut chooser, 6, &enabled).expect_err("the file is over"),
            "the run diverges from the file at step 6: the file ends after step 5, and the run \
             goes on with CPU 0 (to update zone 0)"
        );
    }

    #[test]
    fn a_run_that_ends_early_is_a_divergence_at_the_step_that_is_missing() {
        assert_eq!(
            two_segments().ended(4).expect_err("the file has five"),
            "the run diverges from the file at step 5: the run ended after step 4, the file has 5"
        );
        assert_eq!(two_segments().ended(5), Ok(()));
    }

    #[test]
    fn the_first_of_an_actors_steps_must_touch_what_it_touched() {
        let first = |kind, access| choose(&mut two_segments(), 1, &[(cpu(0), touch(kind, access))]);
        assert_eq!(first(Kind::Lock, Access::Lock), Ok(cpu(0)));
        assert_eq!(
            first(Kind::Zone, Access::Lock).expect_err("another kind"),
            "the run diverges from the file at step 1: the file has CPU 0 to lock something of \
             kind Lock, and it wants to lock zone 0"
        );
        assert!(first(Kind::Lock, Access::Unlock).is_err());
        // Only a step of user mode can turn out to touch another kind than it announced.
        assert_eq!(first(Kind::User, Access::Lock), Ok(cpu(0)));
        assert!(first(Kind::User, Access::Read).is_err());
    }

    #[test]
    fn an_interrupt_may_come_before_the_step_that_a_handler_announced() {
        let irq = ActorId::irq(CpuId(0));
        let delivery = Segment {
            first_kind: Kind::Irq,
            first_access: Access::Update,
            ..segment(irq, 1, 0)
        };
        let announced = [(irq, touch(Kind::Lock, Access::Lock))];
        let mut chooser = ReplayChooser::new(vec![delivery], 1, true);
        assert_eq!(choose(&mut chooser, 1, &announced), Ok(irq));
    }

    #[test]
    fn of_hundreds_that_can_go_on_a_few_are_named() {
        let zone = touch(Kind::Zone, Access::Update);
        let enabled: Vec<_> = (2..302).map(|at| (cpu(at), zone)).collect();
        let why = choose(&mut two_segments(), 1, &enabled).expect_err("CPU 0 cannot go on");
        assert!(why.ends_with("CPU 9 (to update zone 0), 292 more"), "{why}");
    }

    #[test]
    fn another_digest_at_the_end_of_a_run_of_steps_is_a_divergence() {
        let mut digest = Digest::new();
        digest.fold(1, 2);
        let after = |check| {
            let mut chooser = ReplayChooser::new(vec![segment(cpu(0), 3, check)], 3, false);
            assert_eq!(chooser.taken(2, cpu(0), Digest::new()), Ok(()));
            chooser.taken(3, cpu(0), digest)
        };
        assert_eq!(after(digest.short()), Ok(()));
        assert_eq!(
            after(!digest.short()).expect_err("another digest"),
            "the run diverges from the file at step 3: what CPU 0 did in steps 1 to 3 is not what \
             the file has"
        );
    }
}
