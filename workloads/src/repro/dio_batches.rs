//! `dio-batches`: a request that is pinned in two batches, a fork, a store to the first page.

use os::{Setup, User};

use crate::{Parameter, Params, Reproducer, Verdict};

/// See the module.
pub struct DioBatches;

const PAGE: u64 = 4096;
const FILE: &str = "disk";
const DISK: u8 = 0xdd;

impl Reproducer for DioBatches {
    fn name(&self) -> &'static str {
        "dio-batches"
    }

    fn about(&self) -> &'static str {
        "a read is pinned page by page, another thread forks, a third stores to the first page"
    }

    fn story(&self) -> &'static str {
        "A long request pins its pages in batches, and the last page of a batch is queued only when \
         the next one is known. A fix that holds something for each pinned page while it asks for \
         mmap_sem again waits for a fault that shares mmap_sem and waits for that page. Red Hat bug \
         471613, comments 84 to 87. Reduced: two pages, batches of one page, two sectors."
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[]
    }

    fn cpus(&self, _: &Params) -> u16 {
        3
    }

    // A bound is what is asked for; what its budget lets a search reach is said by `verdicts`.
    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("A25", "FWD")
                    .bounded(3)
                    .fixes(&["A25"])
                    .words(&["DEADLOCK", "INVERT"])
                    .note("the second batch inverts the order whether or not anybody waits"),
                Verdict::of("A26.batches", "FWD")
                    .bounded(3)
                    .fixes(&["A26"])
                    .guards(&[("page-sem-at-submit", &["CHECK", "CORRUPT"])]),
                Verdict::of("A01.batches", "FWD")
                    .bounded(3)
                    .fixes(&["A01"])
                    .words(&["CHECK", "CORRUPT"]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, _: &Params) {
        setup.cut_direct_io(1, PAGE);
        setup.file(FILE, 1024, DISK);
        let process = setup.empty_process("dio-batches");
        setup.keep_memory(process);
        let page = setup.map(process, 2 * PAGE);
        // The last sector of one page and the first of the next.
        let at = page + (PAGE - 512);
        setup.thread(process, "reader", 0, move |user: User<'w>| async move {
            let file = user.open(FILE).await.expect("prepared");
            user.pread(file, at, 1024, 0).await.expect("mapped");
            if let Some(at) = user.find_mismatch(at, 1024, DISK).await {
                user.check_failed(format!("byte {at} of what was read is lost"));
            }
            user.spin().await;
        });
        setup.thread(process, "forker", 1, |user: User<'w>| async move {
            let _ = user.fork_stopped().await;
            user.spin().await;
        });
        setup.thread(process, "storer", 2, move |user: User<'w>| async move {
            user.store_u32(page, 1).await;
            user.spin().await;
        });
    }
}
