//! `exclusive`: memory is registered for a device while reclaim unmaps it; then a fork, a load, a store.

use mmu::{PAGE_SIZE, VirtAddr};
use os::{Advice, Setup, User};

use crate::swapping::{DISK, RECLAIM_US, SECTOR, page_and_file, pause};
use crate::{Parameter, Params, Reproducer, Verdict};

const STORY: &str = "\
A thread registers a page with a device, which may write it, while reclaim unmaps the page. The pin \
either came first, and reclaim must let the page be; or it came second, and must find the entry \
gone. If both succeed, the page is pinned, in the swap cache, and nobody remembers that it belonged \
to this address space alone: fork shares the entry in swap, a load maps the page read-only, a store \
copies it, and the device writes into the old page. Mainline, 2020 (5.9) to 2022 (6.1). Reduced: one \
page, one sector, one scan, no time; swap is memory.";

/// See the module.
pub struct Exclusive;

const FILE: &str = "disk";
const LOST: &[&str] = &["CHECK", "CORRUPT"];

impl Reproducer for Exclusive {
    fn name(&self) -> &'static str {
        "exclusive"
    }

    fn about(&self) -> &'static str {
        "a page is registered with a device while reclaim unmaps it; then fork, load and store"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "fork",
                about: "1: fork after the registration",
                default: 1,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "pageout",
                about: "1: the thread asks for reclaim itself, after the registration",
                default: 0,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "cached",
                about: "1: the page is in the swap cache before it is pinned",
                default: 0,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "buffers",
                about: "1: CPUs have store buffers, and atomic operations that return nothing do not drain them",
                default: 0,
                min: 0,
                max: 1,
            },
        ]
    }

    fn kernel(&self) -> &'static str {
        "v5.19"
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    fn store_buffers(&self, params: &Params) -> bool {
        params.get("buffers") == 1
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const ALONE: &[(&str, u64)] = &[("fork", 0)];
        const PINNED: &[(&str, u64)] = &[("fork", 0), ("pageout", 1)];
        const PINNED_CACHED: &[(&str, u64)] = &[("fork", 0), ("pageout", 1), ("cached", 1)];
        const CACHED: &[(&str, u64)] = &[("fork", 0), ("cached", 1)];
        const BUFFERS: &[(&str, u64)] = &[("buffers", 1)];
        const {
            &[
                Verdict::of("U11.pins", "SWAPRO")
                    .exhaustive()
                    .kernel("v5.9")
                    .set(PINNED)
                    .words(LOST),
                Verdict::of("U12", "SWAPRO")
                    .guards(&[("pinned-get-slots", LOST)])
                    .exhaustive()
                    .fixes(&["U12"])
                    .set(PINNED),
                Verdict::of("U12.cached", "SWAPRO")
                    .exhaustive()
                    .fixes(&["U12"])
                    .set(PINNED_CACHED)
                    .words(LOST),
                Verdict::of("U12.slow", "SWAPRO")
                    .bounded(3)
                    .kernel("v2.6.18")
                    .fixes(&["dma-pins", "cow-only-reference", "no-swap-dma-pinned"])
                    .set(ALONE)
                    .words(LOST)
                    .note(
                        "reclaim tests, and unmaps only later: a pin under the page-table lock comes \
                         between as well as a lockless one",
                    ),
                Verdict::of("U12.lockless", "SWAPRO")
                    .bounded(3)
                    .fixes(&["U12"])
                    .set(ALONE)
                    .words(LOST)
                    .note("the test comes before the page is unmapped"),
                Verdict::of("U18.swap", "SWAPRO")
                    .guards(&[("new-pages-unmarked", LOST)])
                    .bounded(3)
                    .fixes(&["U18"])
                    .set(ALONE),
                Verdict::of("U18.swap-cached", "SWAPRO")
                    .guards(&[("new-pages-unmarked", LOST)])
                    .bounded(3)
                    .fixes(&["U18"])
                    .set(CACHED),
                Verdict::of("U18.swap-fork", "SWFORK")
                    .guards(&[("shares-untested", LOST)])
                    .bounded(3)
                    .fixes(&["U18"]),
                Verdict::of("U18.interrupts", "SWFORK")
                    .guards(&[("shares-untested", LOST)])
                    .bounded(3)
                    .kernel("v5.19")
                    .set(BUFFERS)
                    .note("a flush by interrupts waits for the lockless pin"),
                Verdict::of("U18.buffers", "SWFORK")
                    .bounded(3)
                    .kernel("v5.19-broadcast")
                    .set(BUFFERS)
                    .words(LOST)
                    .note(
                        "what makes a pin of a reference waits in a store buffer while the pin reads \
                         the entry again",
                    ),
                Verdict::of("U18.in-order", "SWFORK")
                    .guards(&[("shares-untested", LOST)])
                    .bounded(3)
                    .kernel("v5.19-broadcast"),
                Verdict::of("U20", "SWFORK")
                    .guards(&[("no-share-barriers", LOST)])
                    .bounded(3)
                    .kernel("v6.1-broadcast")
                    .set(BUFFERS),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let (process, page) = page_and_file(setup, "exclusive");
        if params.get("cached") == 1 {
            setup.swap_cached(process, page);
        }
        let forks = params.get("fork") == 1;
        let pageout = params.get("pageout") == 1;
        setup.thread(process, "user", 0, move |user| {
            register(user, page, pageout, forks)
        });
        if !pageout {
            setup.reclaimer(1, process, page, RECLAIM_US, 1);
        }
    }
}

async fn register(user: User<'_>, page: VirtAddr, pageout: bool, forks: bool) {
    let file = user.open(FILE).await.expect("prepared");
    let region = user.register(page, SECTOR * 2, true).await.expect("mapped");
    if pageout {
        let advised = user.madvise(page, PAGE_SIZE as u64, Advice::PageOut).await;
        advised.expect("mapped");
    } else {
        pause(user, RECLAIM_US * 4).await;
    }
    if forks {
        user.fork_stopped().await.expect("memory is free");
    }
    let seen = user.load_u32(page).await;
    user.store_u32(page, seen + 1).await;
    let moved = user
        .device_write(region, file, page + SECTOR, SECTOR, 0)
        .await;
    moved.expect("registered");
    if let Some(at) = user.find_mismatch(page + SECTOR, SECTOR, DISK).await {
        user.check_failed(format!("byte {at} of what the device wrote is lost"));
    }
    user.unregister(region).await.expect("registered");
    user.spin().await;
}
