//! `takeover`: a store to a page that reclaim has unmapped and a load has mapped again, while
//! reclaim holds the page lock for another look.

use os::Setup;

use crate::swapping::{RECLAIM_US, page_and_file, read_load_store};
use crate::{Parameter, Params, Reproducer, Verdict};

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
         sector, two scans; swap is memory."
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

    fn cpus(&self) -> u16 {
        2
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("A44", "TAKEOVER")
                    .fixes(&["A44"])
                    .words(&["CHECK", "CORRUPT"])
                    .bounded(3),
                Verdict::of("A45", "TAKEOVER").fixes(&["A45"]).bounded(3),
                Verdict::of("U02.takeover", "TAKEOVER")
                    .kernel("v2.6.29")
                    .bounded(3),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let (process, page) = page_and_file(setup, "takeover");
        setup.thread(process, "user", 0, move |user| read_load_store(user, page));
        let scans = params.get("scans") as u32;
        setup.reclaimer(1, process, page, RECLAIM_US, scans);
    }
}
