//! `dirty-loss`: reclaim takes a page for clean that the disk has written to.

use os::{Setup, User};

use crate::swapping::{RECLAIM_US, STORE_US, page_and_file, submit_read, wait_and_check};
use crate::{Params, Reproducer, Verdict};

/// See the module.
pub struct DirtyLoss;

/// After the read is over, where time decides.
const AGAIN_US: u64 = 30_000;
const LOOK_US: u64 = 100_000;

impl Reproducer for DirtyLoss {
    fn name(&self) -> &'static str {
        "dirty-loss"
    }

    fn about(&self) -> &'static str {
        "a pinned page is written to swap, the disk writes to it, reclaim drops it as clean"
    }

    fn story(&self) -> &'static str {
        "A thread has a sector read into a page with O_DIRECT. Meanwhile reclaim unmaps the page and \
         writes it to its slot; a load maps it again, read-only and clean; the sector lands. Unless \
         the page is marked dirty when the pin is given back, the next reclaim drops it, and the slot \
         has what was there before. From linux-mm, 2009-03-17 17:01. Reduced: one page, one sector, \
         three scans; swap is memory."
    }

    fn cpus(&self) -> u16 {
        3
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("B37", "DIRTYLOSS").sampled(100),
                Verdict::of("B37.written", "DIRTYLOSS").sampled(100)
                    .fixes(&["write-referenced"]).guards(&[("no-dirty-at-unpin", &["CORRUPT"])])
                    .note("pages are written whoever has them: the mark at unpin is enough"),
                Verdict::of("B37.unmarked", "DIRTYLOSS").sampled(100)
                    .fixes(&["write-referenced", "no-dirty-at-unpin"])
                    .words(&["CORRUPT"]),
                Verdict::of("B37.kept", "DIRTYLOSS").sampled(100)
                    .fixes(&["no-dirty-at-unpin"])
                    .note(
                        "without the mark, and still nothing is lost: a write pin needs an entry \
                         that is dirty, unmapping passes that on to the page, and pageout cleans no \
                         page that somebody else has a reference to",
                    ),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, _params: &Params) {
        let (process, page) = page_and_file(setup, "dirty-loss");
        setup.thread(process, "reader", 0, move |user: User<'_>| async move {
            let read = submit_read(user, page).await;
            wait_and_check(user, page, read).await;
            user.sleep_us(LOOK_US).await;
            user.load_u32(page + crate::swapping::SECTOR).await;
        });
        setup.thread(process, "loader", 1, move |user: User<'_>| async move {
            user.sleep_us(STORE_US).await;
            user.load_u32(page).await;
        });
        setup.reclaimer(2, process, page, RECLAIM_US, 1);
        // The marks that the loads left, then the page.
        setup.reclaimer(2, process, page, AGAIN_US, 2);
    }
}
