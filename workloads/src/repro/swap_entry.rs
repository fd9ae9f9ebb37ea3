//! `swap-entry`: fork gives an entry its write permission back after reclaim has put a swap entry
//! there.

use os::{Setup, User};

use crate::swapping::{RECLAIM_US, direct_read, page_and_file};
use crate::{Params, Reproducer, Verdict};

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
        "A thread reads a sector into a page with O_DIRECT, another forks. Fork has taken the \
         parent's write permission away, sees the pin, and drops the page-table locks to copy the \
         page. Reclaim unmaps it and leaves a swap entry. Fork takes the locks, sees that the entry \
         has changed and starts again, but has set the write bit in it first: 0x1d80 became 0x1d82, \
         a slot that nobody had used, as reported from x86. Here the word is no swap entry any more. \
         From the vendor bug 471613, comments 146 to 148. Reduced: one page, one sector, one scan."
    }

    fn cpus(&self) -> u16 {
        3
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("A50", "SWPENT")
                    .fixes(&["A50"])
                    .words(&["SWAPENT"])
                    .bounded(3),
                Verdict::of("A51", "SWPENT").fixes(&["A51"]).bounded(3),
                Verdict::of("B25", "SWPENT")
                    .fixes(&["B02", "fork-copy-unlocked"])
                    .words(&["SWAPENT"])
                    .bounded(3),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, _params: &Params) {
        let (process, page) = page_and_file(setup, "swap-entry");
        setup.thread(process, "reader", 0, move |user| direct_read(user, page));
        setup.thread(process, "forker", 1, move |user: User<'_>| async move {
            user.sleep_us(RECLAIM_US).await;
            if let Ok(child) = user.fork(|_| async { 0 }).await {
                let _ = user.wait(Some(child)).await;
            }
        });
        setup.reclaimer(2, process, page, RECLAIM_US, 1);
    }
}
