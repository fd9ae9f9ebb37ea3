//! `takeover`: a store to a page that reclaim has unmapped and a load has mapped again, while
//! reclaim holds the page lock for another look.

use mmu::VirtAddr;
use os::{Setup, User};

use crate::swapping::{page_and_file, submit_read, wait_and_check};
use crate::{Parameter, Params, Reproducer, Verdict};

/// The read is submitted.
const PINNED: u32 = 0;
/// Reclaim has scanned the page once.
const SCANNED: u32 = 1;
/// The page is mapped again.
const LOADED: u32 = 2;

/// See the module.
pub struct Takeover;

impl Reproducer for Takeover {
    fn name(&self) -> &'static str {
        "takeover"
    }

    fn about(&self) -> &'static str {
        "a busy page lock replaces the page of a direct read: reclaim twice, and no fork"
    }

    fn story(&self) -> &'static str {
        "A thread has a sector read into a page with O_DIRECT. Meanwhile reclaim unmaps the page, which \
         stays in the swap cache; the thread loads from it and has it mapped read-only; reclaim \
         looks at the page again and holds its lock for a moment; the thread stores. v2.6.18 takes a \
         page whose lock is busy for shared and copies it: the disk's sector lands in the old page. \
         Nobody forked. From the vendor bug 471613, comments 107 and 108. Reduced: one page, one \
         sector, two scans; swap is memory, and both sides wait for each other by polling."
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "scans",
            about: "how often reclaim looks at the page",
            default: 2,
            min: 1,
            max: 100,
        }]
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("A44", "TAKEOVER")
                    .fixes(&["A44"])
                    .words(&["CHECK", "CORRUPT"])
                    .bounded(3),
                Verdict::of("A45", "TAKEOVER")
                    .fixes(&["A45"])
                    .bounded(3)
                    .guards(&[("busy-lock-copies", &["CHECK", "CORRUPT"])]),
                Verdict::of("A45.unmapped", "TAKEOVER")
                    .fixes(&["A45"])
                    .set(&[("scans", 3)])
                    .sampled(1000)
                    .note("the third scan unmaps the page that the second found in use")
                    .guards(&[("wait-blindly", &["SWAPENT"])]),
                Verdict::of("U02.takeover", "TAKEOVER")
                    .kernel("v2.6.29")
                    .bounded(3)
                    .guards(&[("busy-lock-copies", &["CHECK", "CORRUPT"])]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let (process, page) = page_and_file(setup, "takeover");
        setup.thread(process, "user", 0, move |user| load_store(user, page));
        let mut turns = vec![(Some(PINNED), Some(SCANNED)), (Some(LOADED), None)];
        turns.resize(params.get("scans") as usize, (None, None));
        setup.reclaimer_in_turn(1, process, page, &turns);
    }
}

async fn load_store(user: User<'_>, page: VirtAddr) {
    let read = submit_read(user, page).await;
    user.signal_event(PINNED).await;
    user.poll_event(SCANNED).await;
    let seen = user.load_u32(page).await;
    user.signal_event(LOADED).await;
    user.store_u32(page, seen + 1).await;
    wait_and_check(user, page, read).await;
    user.spin().await;
}
