//! `fork-pressure`: fork must copy a pinned page, and memory may be out.

use os::{Setup, User};

use crate::{Budget, Parameter, Params, Reproducer, Verdict};

const STORY: &str = "\
A process registers a page with a device and forks: under the sticky mark fork copies the page at \
once, so it needs memory in the middle of the page tables. The first edition slept for it with the \
tables mapped through a slot of the CPU, and took a lock again without saying that it nests; not \
sleeping at all was proposed, and lets fork fail though there is a page to reclaim; an error path \
forgot what it had taken. Vendor bug 471613, comments 118 to 141, and linux-mm, 2009-03-16. \
Reduced: one page, one CPU.";

const PAGE: u64 = 4096;

/// What the child's page tables take: the root, and a table of each level for its one page.
const TABLES: u64 = 4;

/// See the module.
pub struct ForkPressure;

impl Reproducer for ForkPressure {
    fn name(&self) -> &'static str {
        "fork-pressure"
    }

    fn about(&self) -> &'static str {
        "fork copies a pinned page while memory is short"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "frames",
                about: "frames free when it begins; the child's page tables take 4",
                default: 64,
                min: TABLES,
                max: 1024,
            },
            Parameter {
                name: "old",
                about: "pages of another process that reclaim could have",
                default: 1,
                min: 0,
                max: 1,
            },
        ]
    }

    fn cpus(&self, _: &Params) -> u16 {
        1
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const NO_FAILURE: &[Budget] = &[Budget::at_most("forks that failed", 0)];
        const FAILS: &[Budget] = &[Budget::at_least("forks that failed", 1)];
        const WARNS: &[Budget] = &[Budget::at_least("lock warnings", 1)];
        const NO_WARNING: &[Budget] = &[Budget::at_most("lock warnings", 0)];
        const SHORT: &[(&str, u64)] = &[("frames", TABLES)];
        const OUT: &[(&str, u64)] = &[("frames", TABLES), ("old", 0)];
        const {
            &[
                Verdict::of("A46", "CTX")
                    .exhaustive()
                    .fixes(&["A46"])
                    .words(&["ATOMIC"]),
                Verdict::of("A46.low", "CTX").exhaustive().fixes(&["A47"]).guards(&[("high-page-tables", &["ATOMIC"])]),
                Verdict::of("A47", "CTX")
                    .exhaustive()
                    .fixes(&["A47"])
                    .budgets(WARNS)
                    .note(
                        "INVERT is lockdep's word, which knows classes only: no two locks are taken \
                         in both orders, so this is a warning and no violation",
                    ).guards(&[("high-page-tables", &["ATOMIC"])]),
                Verdict::of("A48", "COST")
                    .exhaustive()
                    .fixes(&["A48"])
                    .set(SHORT)
                    .words(&["COST"])
                    .budgets(NO_FAILURE),
                Verdict::of("A48.sleeping", "COST")
                    .exhaustive()
                    .fixes(&["A49"])
                    .set(SHORT)
                    .budgets(NO_FAILURE).guards(&[("tables-stay-mapped", &["ATOMIC"])]),
                Verdict::of("A49", "CTX")
                    .exhaustive()
                    .fixes(&["A49"])
                    .budgets(NO_WARNING)
                    .guards(&[("tables-stay-mapped", &["ATOMIC", "COST"])]),
                Verdict::of("A49.enomem", "CTX")
                    .exhaustive()
                    .fixes(&["A49"])
                    .set(OUT)
                    .budgets(FAILS).guards(&[("tables-stay-mapped", &["ATOMIC"]), ("fork-enomem-leaks", &["LEAK"])]),
                Verdict::of("B26", "CTX")
                    .exhaustive()
                    .fixes(&["B26"])
                    .set(OUT)
                    .words(&["LEAK"]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        setup.swap_area(4);
        let process = setup.empty_process("fork-pressure");
        setup.keep_memory(process);
        let page = setup.map(process, PAGE);
        setup.fill(process, page, PAGE, 0x11);
        if params.get("old") == 1 {
            let other = setup.empty_process("other");
            setup.keep_memory(other);
            let old = setup.map(other, PAGE);
            setup.fill(other, old, PAGE, 0x22);
            setup.reclaimable(other, old);
        }
        setup.free_frames(params.get("frames") as u32);
        setup.thread(process, "forker", 0, move |user: User<'w>| async move {
            let region = user.register(page, PAGE, true).await.expect("mapped");
            if let Ok(child) = user.fork(|_| async { 0 }).await {
                let _ = user.wait(Some(child)).await;
            }
            user.unregister(region).await.expect("registered");
        });
    }
}
