//! `fork-cost`: what fork costs a process that never pinned anything, or one page of many.

use os::{Setup, User};

use crate::{Budget, Parameter, Params, Reproducer, Verdict};

const STORY: &str = "\
A process with resident memory forks, once. A fix that tests each page at fork must not make the fork \
of everybody dearer who never does direct I/O: with the sticky mark it took 104.00, 102.97, 104.47 \
and 105.56 percent for 1, 10, 100 and 1000 MB, later 103 percent (vendor bug 471613, comments 102 \
and 113). The counter is the time from the call of fork to its return in the parent.";

const PAGE: u64 = 4096;

/// See the module.
pub struct ForkCost;

impl Reproducer for ForkCost {
    fn name(&self) -> &'static str {
        "fork-cost"
    }

    fn about(&self) -> &'static str {
        "a process with resident memory forks: how long, and what is copied"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "kib",
                about: "resident memory",
                default: 10 * 1024,
                min: 4,
                max: 1 << 20,
            },
            Parameter {
                name: "pinned",
                about: "pages of it that are registered with a device meanwhile",
                default: 0,
                min: 0,
                max: 1024,
            },
            Parameter {
                name: "dontcow",
                about: "1: the memory has the advice to be copied at fork",
                default: 0,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "again",
                about: "1: and forks again when nothing is pinned",
                default: 0,
                min: 0,
                max: 1,
            },
        ]
    }

    fn cpus(&self, _: &Params) -> u16 {
        1
    }

    fn memory_mib(&self, params: &Params) -> u64 {
        params.get("kib") / 1024 + 64
    }

    fn check(&self, params: &Params) -> Result<(), String> {
        if params.get("pinned") * 4 > params.get("kib") {
            return Err("`pinned` pages are of `kib`, four KiB each".to_string());
        }
        Ok(())
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const NO_COPY: &[Budget] = &[Budget::at_most("pages copied at fork", 0)];
        const ONE_COPY: &[Budget] = &[
            Budget::at_least("pages copied at fork", 1),
            Budget::at_most("pages copied at fork", 1),
        ];
        const NO_FAULT: &[Budget] = &[Budget::at_most("pages reused", 0)];
        const FOUR_COPIES: &[Budget] = &[
            Budget::at_least("pages copied at fork", 4),
            Budget::at_most("pages copied at fork", 4),
        ];
        const FOUR: &[(&str, u64)] = &[("kib", 16), ("pinned", 1)];
        const FOUR_AGAIN: &[(&str, u64)] = &[("kib", 16), ("pinned", 1), ("again", 1)];
        const COST: &[&str] = &["COST"];
        const {
            &[
                Verdict::of("A54.before", "COST")
                    .sampled(20)
                    .fixes(&["A01"])
                    .budgets(AS_BEFORE),
                Verdict::of("A54", "COST")
                    .sampled(20)
                    .fixes(&["A41"])
                    .words(&["COST"])
                    .budgets(AS_BEFORE),
                Verdict::of("A54.ratio", "COST")
                    .sampled(20)
                    .fixes(&["A41"])
                    .budgets(SIX_PERCENT),
                Verdict::of("A54.A49", "COST")
                    .sampled(20)
                    .fixes(&["A49"])
                    .budgets(SIX_PERCENT),
                Verdict::of("A54.copies", "COST")
                    .sampled(20)
                    .fixes(&["A41"])
                    .budgets(NO_COPY),
                Verdict::of("B11.cost", "COST")
                    .sampled(20)
                    .fixes(&["B11"])
                    .set(&[("kib", 16), ("dontcow", 1)])
                    .words(COST)
                    .budgets(NO_COPY),
                Verdict::of("B12.cost", "COST")
                    .sampled(20)
                    .kernel("v2.6.29")
                    .fixes(&["pinned-mappings"])
                    .set(FOUR)
                    .words(COST)
                    .budgets(ONE_COPY),
                Verdict::of("B18.cost", "COST")
                    .sampled(20)
                    .fixes(&["B18"])
                    .set(FOUR)
                    .words(COST)
                    .budgets(NO_FAULT),
                Verdict::of("B02.fault", "COST")
                    .sampled(20)
                    .fixes(&["B02"])
                    .set(FOUR)
                    .budgets(NO_FAULT)
                    .guards(&[("fork-copy-leaks", &["LEAK"])]),
                Verdict::of("B53", "COST")
                    .sampled(20)
                    .fixes(&["B53"])
                    .set(FOUR)
                    .words(COST)
                    .budgets(ONE_COPY),
                Verdict::of("B53.again", "COST")
                    .sampled(20)
                    .fixes(&["B53"])
                    .set(FOUR_AGAIN)
                    .budgets(FOUR_COPIES)
                    .guards(&[("fork-copy-leaks", &["LEAK"])]),
                Verdict::of("A54.pinned", "COST")
                    .sampled(20)
                    .fixes(&["A41"])
                    .set(&[("pinned", 1)])
                    .budgets(ONE_COPY)
                    .guards(&[("fork-copy-leaks", &["LEAK"])]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let process = setup.empty_process("fork-cost");
        setup.keep_memory(process);
        let memory = setup.map(process, params.get("kib") * 1024);
        if params.get("dontcow") == 1 {
            setup.copied_at_fork(process, memory);
        }
        let again = params.get("again") == 1;
        let pinned = params.get("pinned") * PAGE;
        setup.thread(process, "forker", 0, move |user: User<'w>| async move {
            let region = match pinned {
                0 => None,
                _ => user.register(memory, pinned, true).await.ok(),
            };
            let child = user.fork(|_| async { 0 }).await;
            let _ = user.wait(child.ok()).await;
            user.store_u32(memory, 1).await;
            if let Some(region) = region {
                let _ = user.unregister(region).await;
            }
            if again {
                let child = user.fork(|_| async { 0 }).await;
                let _ = user.wait(child.ok()).await;
            }
        });
    }
}

/// The time of fork over 10 MiB: what the baseline takes at most, and six percent more.
const AS_BEFORE: &[Budget] = &[Budget::at_most("cycles in fork", 338_000)];
const SIX_PERCENT: &[Budget] = &[Budget::at_most("cycles in fork", 357_000)];
