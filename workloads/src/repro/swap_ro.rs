//! `swap-ro`: reclaim unmaps a pinned page, a load maps it back read-only, a store follows.

use os::Setup;

use crate::swapping::{RECLAIM_US, direct_read, load_then_store, page_and_file};
use crate::{Parameter, Params, Reproducer, Verdict};

/// See the module.
pub struct SwapRo;

impl Reproducer for SwapRo {
    fn name(&self) -> &'static str {
        "swap-ro"
    }

    fn about(&self) -> &'static str {
        "reclaim unmaps a pinned page, a load maps it read-only, a store copies it: no fork"
    }

    fn story(&self) -> &'static str {
        "A thread reads a sector into a page with O_DIRECT. Meanwhile reclaim unmaps the page, which \
         stays in the swap cache; another thread loads from it and has it mapped read-only, then \
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
                about: "1: the page is in the swap cache before it is pinned",
                default: 0,
                min: 0,
                max: 1,
            },
        ]
    }

    fn kernel(&self) -> &'static str {
        "v2.6.29"
    }

    fn cpus(&self) -> u16 {
        3
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("swap-ro", "SWAPRO"),
                Verdict::of("B36", "SWAPRO")
                    .fixes(&["B36"])
                    .words(&["CHECK", "CORRUPT"]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let (process, page) = page_and_file(setup, "swap-ro");
        if params.get("cached") == 1 {
            setup.swap_cached(process, page);
        }
        setup.thread(process, "reader", 0, move |user| direct_read(user, page));
        setup.thread(process, "storer", 1, move |user| {
            load_then_store(user, page)
        });
        let scans = params.get("scans") as u32;
        setup.reclaimer(2, process, page, RECLAIM_US, scans);
    }
}
