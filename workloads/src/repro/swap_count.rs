//! `swap-count`: fork compares the references of a pinned page with its mappings and the swap
//! cache, while reclaim puts the page into the swap cache.

use os::{Setup, User};

use crate::swapping::{RECLAIM_US, page_and_file, pause, submit_read, wait_and_check};
use crate::{Params, Reproducer, Verdict};

/// See the module.
pub struct SwapCount;

impl Reproducer for SwapCount {
    fn name(&self) -> &'static str {
        "swap-count"
    }

    fn about(&self) -> &'static str {
        "fork looks for a pin by counting, while reclaim adds the page to the swap cache"
    }

    fn story(&self) -> &'static str {
        "A thread has a sector read into a page with O_DIRECT, and then stores to the \
         page. Fork takes a page for pinned when its count is not that of its mappings, and of the \
         swap cache if the page is in it. It reads the count first and the flag second: a page that \
         reclaim inserts in between has one reference more than fork saw, and the flag, so the pin \
         goes unseen and the page is shared. The store then copies it, and the sector lands in the \
         child's page. From the vendor bug 471613, comments 7 to 10. Reduced: one page, one sector; \
         the page was used lately, so that reclaim adds it to the swap cache and unmaps nothing; \
         a write fault waits for the page lock (A45), since a busy one is another race (A44)."
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("A10", "FWD")
                    .fixes(&["A45", "A10"])
                    .words(&["CHECK", "CORRUPT"])
                    .bounded(3),
                Verdict::of("A11", "FWD")
                    .fixes(&["A45", "A11"])
                    .bounded(3)
                    .guards(&[
                        ("looks-unlocked", &["CHECK", "CORRUPT"]),
                        ("fork-copies-none", &["CHECK", "CORRUPT"]),
                    ]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, _params: &Params) {
        let (process, page) = page_and_file(setup, "swap-count");
        setup.thread(process, "forker", 0, move |user: User<'_>| async move {
            let read = submit_read(user, page).await;
            pause(user, RECLAIM_US).await;
            let _ = user.fork_stopped().await;
            user.store_u32(page, 1).await;
            wait_and_check(user, page, read).await;
            user.spin().await;
        });
        setup.reclaimer_of_used(1, process, page, RECLAIM_US, 1);
    }
}
