//! `soft-dirty`: a pinned page loses its write permission to soft-dirty tracking, and is stored to.

use os::{Setup, User};

use crate::{Parameter, Params, Reproducer, Verdict};

const STORY: &str = "\
A thread registers a page with a device, which writes a sector into it. Another thread clears the \
soft-dirty marks of the process, as a checkpointer does, which write-protects all entries, and stores \
elsewhere in the page. A kernel that writes in place only a page with a single reference sees the pin \
and copies: the device's sector lands in the old page, and nobody forked. Mainline, January 2021. \
Reduced: one page, one sector; the process clears its own marks.";

const PAGE: u64 = 4096;
const SECTOR: u64 = 512;
const DISK: u8 = 0xdd;
const FILE: &str = "disk";

/// See the module.
pub struct SoftDirty;

impl Reproducer for SoftDirty {
    fn name(&self) -> &'static str {
        "soft-dirty"
    }

    fn about(&self) -> &'static str {
        "soft-dirty clearing write-protects a pinned page, a store copies it: no fork"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[]
    }

    fn kernel(&self) -> &'static str {
        "v2.6.29"
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const LOST: &[&str] = &["CHECK", "CORRUPT"];
        const {
            &[
                Verdict::of("U03.soft-dirty", "SWAPRO")
                    .exhaustive()
                    .fixes(&["dma-pins"])
                    .note("reuse is decided by map counts")
                    .guards(&[("cow-only-reference", &["CHECK", "CORRUPT"])]),
                Verdict::of("U11.soft-dirty", "SWAPRO")
                    .bounded(3)
                    .fixes(&["dma-pins", "cow-only-reference"])
                    .words(LOST),
                Verdict::of("U12.soft-dirty", "SWAPRO")
                    .exhaustive()
                    .kernel("v2.6.18")
                    .fixes(&["dma-pins", "cow-only-reference", "clear-refs-keeps-pinned"])
                    .note("pins under mmap_sem")
                    .guards(&[("clear-refs-forgets", &["CHECK", "CORRUPT"])]),
                Verdict::of("U12.soft-dirty-fast", "SWAPRO")
                    .bounded(3)
                    .fixes(&["dma-pins", "cow-only-reference", "clear-refs-keeps-pinned"])
                    .words(LOST)
                    .note("a lockless pin between the test and the loss of the permission"),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, _params: &Params) {
        setup.file(FILE, SECTOR, DISK);
        let process = setup.empty_process("soft-dirty");
        setup.keep_memory(process);
        let page = setup.map(process, PAGE);
        let at = page + SECTOR;
        setup.thread(process, "device", 0, move |user: User<'w>| async move {
            let file = user.open(FILE).await.expect("prepared");
            let region = user.register(at, SECTOR, true).await.expect("mapped");
            let moved = user.device_write(region, file, at, SECTOR, 0).await;
            moved.expect("registered");
            user.unregister(region).await.expect("registered");
            if let Some(at) = user.find_mismatch(at, SECTOR, DISK).await {
                user.check_failed(format!("byte {at} of what the device wrote is lost"));
            }
            user.spin().await;
        });
        setup.thread(process, "storer", 1, move |user: User<'w>| async move {
            user.clear_soft_dirty().await;
            user.store_u32(page, 1).await;
            user.spin().await;
        });
    }
}
