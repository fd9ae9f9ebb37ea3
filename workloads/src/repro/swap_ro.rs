//! `swap-ro`: reclaim unmaps a pinned page, a load maps it back read-only, a store follows.

use os::Setup;

use crate::swapping::{RECLAIM_US, page_and_file, read_load_store, submit_read, wait_and_check};
use crate::verdict::Budget;
use crate::{Parameter, Params, Reproducer, Verdict};

/// The page is pinned, in the turn of `cached=2`.
const PINNED: u32 = 0;
/// Reclaim has looked at it again.
const SCANNED: u32 = 1;

/// See the module.
pub struct SwapRo;

/// Reclaim gets somewhere.
const SWAPS: &[Budget] = &[Budget::at_least("pages added to swap", 1)];

impl Reproducer for SwapRo {
    fn name(&self) -> &'static str {
        "swap-ro"
    }

    fn about(&self) -> &'static str {
        "reclaim unmaps a pinned page, a load maps it read-only, a store copies it: no fork"
    }

    fn story(&self) -> &'static str {
        "A thread has a sector read into a page with O_DIRECT. Meanwhile reclaim unmaps the page, which \
         stays in the swap cache; the thread loads from it and has it mapped read-only, then \
         stores. A kernel that writes a page in place only when its count is 1 sees the pin and \
         copies: the disk's sector lands in the old page, and nobody forked. From linux-mm, \
         2009-03-17. Reduced: one page, one sector; swap is memory."
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "scans",
                about: "how often reclaim looks at the page",
                default: 1,
                min: 1,
                max: 4,
            },
            Parameter {
                name: "cached",
                about: "1: the page is in the swap cache before it is pinned; 2: reclaim has unmapped \
                        it and writes it; the thread stores, pins, and goes on when reclaim has looked \
                        twice more (`scans` says nothing)",
                default: 0,
                min: 0,
                max: 2,
            },
        ]
    }

    fn kernel(&self) -> &'static str {
        "v2.6.29"
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("swap-ro", "SWAPRO").sampled(100).guards(&[("count-is-one", &["CHECK", "CORRUPT"])]),
                Verdict::of("B36", "SWAPRO")
                    .sampled(100)
                    .fixes(&["B36"])
                    .words(&["CHECK", "CORRUPT"]),
                Verdict::of("B36.slow", "SWAPRO")
                    .sampled(100)
                    .kernel("v2.6.18")
                    .fixes(&["A45", "count-is-one"])
                    .words(&["CHECK", "CORRUPT"]),
                Verdict::of("B38.posted", "SWAPRO")
                    .sampled(100)
                    .fixes(&["count-is-one", "no-swap-referenced-posted"])
                    .words(&["COST"])
                    .budgets(SWAPS)
                    .note("nothing is lost, since nothing is swapped"),
                Verdict::of("B38.a", "SWAPRO")
                    .sampled(100)
                    .fixes(&["B38"])
                    .set(&[("cached", 1)])
                    .words(&["CHECK", "CORRUPT"]),
                Verdict::of("B38.b", "SWAPRO")
                    .bounded(3)
                    .fixes(&["count-is-one", "no-swap-referenced-posted"])
                    .set(&[("cached", 2)])
                    .words(&["CHECK", "CORRUPT"])
                    .note(
                        "a store during the write to swap reuses the page and leaves it in the swap \
                         cache; no rule of insertion, not even one that refuses all, sees it again",
                    ),
                Verdict::of("B12.swap", "SWPENT")
                    .bounded(3)
                    .fixes(&["pinned-mappings"])
                    .words(&["BUG"]),
                Verdict::of("B38.c", "SWAPRO")
                    .fixes(&["B38"])
                    .words(&["CHECK", "CORRUPT"])
                    .bounded(3),
                Verdict::of("B39", "SWAPRO")
                    .sampled(100)
                    .kernel("v2.6.18")
                    .fixes(&["A45", "count-is-one", "pin-referenced"])
                    .set(&[("scans", 2)])
                    .words(&["CHECK", "CORRUPT"]),
                Verdict::of("B40.slow", "SWAPRO")
                    .kernel("v2.6.18")
                    .fixes(&["A45", "count-is-one", "unmap-unless-referenced"])
                    .set(&[("scans", 2)])
                    .bounded(3)
                    .guards(&[("unmap-untested", &["CHECK", "CORRUPT"])]),
                Verdict::of("B40.lockless", "SWAPRO")
                    .fixes(&["B40"])
                    .words(&["CHECK", "CORRUPT"])
                    .bounded(3),
                Verdict::of("B40.recheck", "SWAPRO")
                    .fixes(&["count-is-one", "unmap-recheck"])
                    .bounded(3)
                    .note("the order of B41, applied to reclaim").guards(&[("unmap-untested", &["CHECK", "CORRUPT"])]),
                Verdict::of("U11.swap", "SWAPRO")
                    .sampled(100)
                    .fixes(&["cow-only-reference"])
                    .words(&["CHECK", "CORRUPT"]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let (process, page) = page_and_file(setup, "swap-ro");
        let cached = params.get("cached");
        setup.thread(process, "user", 0, move |user| async move {
            if cached < 2 {
                read_load_store(user, page).await;
                user.spin().await;
            }
            user.store_u32(page, 1).await;
            let read = submit_read(user, page).await;
            user.signal_event(PINNED).await;
            user.poll_event(SCANNED).await;
            let seen = user.load_u32(page).await;
            user.store_u32(page, seen + 1).await;
            wait_and_check(user, page, read).await;
            user.spin().await;
        });
        if cached == 2 {
            let turns = [(None, None), (Some(PINNED), None), (None, Some(SCANNED))];
            setup.reclaimer_in_turn(1, process, page, &turns);
            setup.unmapped_to_swap(process, page);
            return;
        }
        let scans = params.get("scans") as u32;
        setup.reclaimer(1, process, page, RECLAIM_US, scans);
        if cached == 1 {
            setup.swap_cached(process, page);
        }
    }
}
