//! `swap-fork`: fork copies the swap entry of a pinned page.

use os::{Setup, User};

use crate::swapping::{RECLAIM_US, STORE_US, page_and_file, pause, submit_read, wait_and_check};
use crate::{Params, Reproducer, Verdict};

/// See the module.
pub struct SwapFork;

impl Reproducer for SwapFork {
    fn name(&self) -> &'static str {
        "swap-fork"
    }

    fn about(&self) -> &'static str {
        "reclaim unmaps a pinned page, then fork shares its swap entry, then the parent stores"
    }

    fn story(&self) -> &'static str {
        "A thread has a sector read into a page with O_DIRECT. Reclaim unmaps the page, which stays in \
         the swap cache; the thread forks, and what fork finds is a swap entry: no page whose \
         pin it could see. The parent stores: the slot has a second user, so the page is copied, and \
         the sector lands in what the child will read. Every rule that looks at pages at fork \
         misses it. Reduced: one page, one sector; swap is memory; the child only lives."
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("swap-fork", "SWFORK")
                    .sampled(100)
                    .words(&["CHECK", "CORRUPT"]),
                Verdict::of("A11.swap", "SWFORK")
                    .sampled(100)
                    .fixes(&["A45", "A11"])
                    .words(&["CHECK", "CORRUPT"])
                    .note("what A11 leaves open"),
                Verdict::of("U02.swap", "SWFORK")
                    .sampled(100)
                    .kernel("v2.6.29")
                    .words(&["CHECK", "CORRUPT"]),
                Verdict::of("U11.swap", "SWFORK")
                    .sampled(100)
                    .kernel("v2.6.29")
                    .fixes(&["cow-only-reference"])
                    .words(&["CHECK", "CORRUPT"]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, _params: &Params) {
        let (process, page) = page_and_file(setup, "swap-fork");
        setup.thread(process, "forker", 0, move |user: User<'_>| async move {
            let read = submit_read(user, page).await;
            pause(user, STORE_US).await;
            let child = user.fork(|user| async move {
                pause(user, STORE_US).await;
                0
            });
            let child = child.await;
            user.store_u32(page, 1).await;
            wait_and_check(user, page, read).await;
            if let Ok(child) = child {
                let _ = user.wait(Some(child)).await;
            }
        });
        setup.reclaimer(1, process, page, RECLAIM_US, 1);
    }
}
