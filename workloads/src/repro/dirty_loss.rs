//! `dirty-loss`: reclaim takes a page for clean that the disk has written to.

use os::{Setup, User};

use crate::swapping::{SECTOR, page_and_file, submit_read, wait_and_check};
use crate::{Params, Reproducer, Verdict};

/// See the module.
pub struct DirtyLoss;

/// The read is submitted.
const PINNED: u32 = 0;
/// Reclaim has scanned the page once.
const SCANNED: u32 = 1;
/// The read is over.
const CHECKED: u32 = 2;
/// Reclaim has scanned it twice more.
const RECLAIMED: u32 = 3;

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
         three scans; swap is memory, and both sides wait for each other by polling."
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("B37", "DIRTYLOSS").bounded(3),
                Verdict::of("B37.written", "DIRTYLOSS").bounded(3)
                    .fixes(&["write-referenced"]).guards(&[("no-dirty-at-unpin", &["CHECK", "CORRUPT"])])
                    .note("pages are written whoever has them: the mark at unpin is enough"),
                Verdict::of("B37.unmarked", "DIRTYLOSS").bounded(3)
                    .fixes(&["write-referenced", "no-dirty-at-unpin"])
                    .words(&["CHECK", "CORRUPT"]),
                Verdict::of("B37.kept", "DIRTYLOSS").bounded(3)
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
            user.signal_event(PINNED).await;
            user.poll_event(SCANNED).await;
            user.load_u32(page).await;
            wait_and_check(user, page, read).await;
            user.signal_event(CHECKED).await;
            user.poll_event(RECLAIMED).await;
            user.load_u32(page + SECTOR).await;
            user.spin().await;
        });
        let turns = [
            (Some(PINNED), Some(SCANNED)),
            // The marks that the loads left, then the page.
            (Some(CHECKED), None),
            (None, Some(RECLAIMED)),
        ];
        setup.reclaimer_in_turn(1, process, page, &turns);
    }
}
