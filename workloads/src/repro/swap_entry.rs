//! `swap-entry`: fork gives an entry its write permission back after reclaim has put a swap entry
//! there.

use os::{Setup, User};

use crate::swapping::page_and_file;
use crate::{Params, Reproducer, Verdict};

/// The page is pinned.
const PINNED: u32 = 0;

/// See the module.
pub struct SwapEntry;

impl Reproducer for SwapEntry {
    fn name(&self) -> &'static str {
        "swap-entry"
    }

    fn about(&self) -> &'static str {
        "fork copies a pinned page without locks, reclaim swaps it out meanwhile"
    }

    fn story(&self) -> &'static str {
        "A thread has registered a page with a device, and forks. Fork has taken the \
         parent's write permission away, sees the pin, and drops the page-table locks to copy the \
         page. Reclaim unmaps it and leaves a swap entry. Fork takes the locks, sees that the entry \
         has changed and starts again, but has set the write bit in it first: 0x1d80 became 0x1d82, \
         a slot that nobody had used, as reported from x86. Here the word is no swap entry any more. \
         From the vendor bug 471613, comments 146 to 148. Reduced: one page, one scan; the pin is \
         that of a registration, so that nothing is in flight."
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("A50", "SWPENT")
                    .fixes(&["A50"])
                    .words(&["SWAPENT"])
                    .bounded(3),
                Verdict::of("A51", "SWPENT")
                    .fixes(&["A51"])
                    .bounded(3)
                    .guards(&[("restore-blindly", &["SWAPENT"])]),
                Verdict::of("B25", "SWPENT")
                    .fixes(&["B02", "fork-copy-unlocked"])
                    .words(&["SWAPENT"])
                    .bounded(3),
                Verdict::of("B13.swap", "SWPENT")
                    .fixes(&["B14"])
                    .words(&["BUG"])
                    .bounded(3),
                Verdict::of("B18.swap", "SWPENT")
                    .fixes(&["B18"])
                    .bounded(3)
                    .guards(&[("fork-copy-leaks", &["LEAK"])]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, _params: &Params) {
        let (process, page) = page_and_file(setup, "swap-entry");
        setup.thread(process, "forker", 0, move |user: User<'_>| async move {
            let pinned = user.register(page, mmu::PAGE_SIZE as u64, true).await;
            user.signal_event(PINNED).await;
            let _ = user.fork_stopped().await;
            if let Ok(region) = pinned {
                let _ = user.unregister(region).await;
            }
            user.spin().await;
        });
        setup.reclaimer_in_turn(1, process, page, &[(Some(PINNED), None)]);
    }
}
