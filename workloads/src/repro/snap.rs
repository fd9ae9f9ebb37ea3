//! `snap`: a thread stores to two parts of a pinned page while fork copies it.

use os::{Setup, User};

use crate::{Parameter, Params, Reproducer, Verdict};

const STORY: &str = "\
A page of a process is pinned, so fork copies it at once. A thread whose TLB has the page as writable \
stores to two words, one after the other, as one does to a list: fork has taken the write access \
away, but only a flush stops that thread. If both stores come while fork is between the two words, \
the child has the second and not the first. Vendor bug 471613, comments 28 and 105. Reduced: one \
page, which is registered and never transferred.";

const PAGE: u64 = 4096;
const PREV: u64 = 0;
const NEXT: u64 = 512;
const PINNED: u64 = 2048;

/// See the module.
pub struct Snap;

impl Reproducer for Snap {
    fn name(&self) -> &'static str {
        "snap"
    }

    fn about(&self) -> &'static str {
        "a thread stores to two sectors of a pinned page while fork copies it"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "dontcow",
            about: "1: nothing is pinned, and the page has the advice to be copied at fork",
            default: 0,
            min: 0,
            max: 1,
        }]
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const TORN: &[&str] = &["TORN"];
        const {
            &[
                Verdict::of("A12", "SNAP")
                    .bounded(3)
                    .fixes(&["A12"])
                    .words(&["LEAK", "TORN"]),
                Verdict::of("A13", "SNAP")
                    .bounded(3)
                    .fixes(&["A13"])
                    .words(TORN),
                Verdict::of("A13.flush", "SNAP")
                    .bounded(3)
                    .fixes(&["A13", "fork-flush-before-copy"])
                    .guards(&[("no-flush-before-copy", &["TORN"])]),
                Verdict::of("A41.snap", "SNAP")
                    .bounded(3)
                    .fixes(&["A41"])
                    .words(TORN),
                Verdict::of("A43", "SNAP")
                    .bounded(3)
                    .fixes(&["A43"])
                    .guards(&[("no-flush-before-copy", TORN)]),
                Verdict::of("B02.snap", "SNAP")
                    .bounded(3)
                    .fixes(&["B02"])
                    .words(TORN),
                Verdict::of("B02.flush", "SNAP")
                    .bounded(3)
                    .fixes(&["B02.flush"])
                    .guards(&[("no-flush-before-copy", TORN)]),
                Verdict::of("B11.snap", "SNAP")
                    .bounded(3)
                    .fixes(&["B11"])
                    .set(&[("dontcow", 1)])
                    .guards(&[("no-flush-before-copy", &["TORN"])]),
                Verdict::of("B11.torn", "SNAP")
                    .bounded(3)
                    .fixes(&["dontcow-advice"])
                    .set(&[("dontcow", 1)])
                    .words(TORN),
                Verdict::of("B12.snap", "SNAP")
                    .bounded(3)
                    .kernel("v2.6.29")
                    .fixes(&["pinned-mappings"])
                    .words(TORN)
                    .note("the parent's entry is never write-protected"),
                Verdict::of("U13.snap", "SNAP")
                    .bounded(3)
                    .fixes(&["U13"])
                    .words(TORN)
                    .note("v5.9 gives this up for pages that may be pinned"),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let process = setup.empty_process("snap");
        setup.keep_memory(process);
        let page = setup.map(process, PAGE);
        let dontcow = params.get("dontcow") == 1;
        if dontcow {
            setup.copied_at_fork(process, page);
        }
        setup.thread(process, "forker", 0, move |user: User<'w>| async move {
            if dontcow {
                user.fork_stopped().await.expect("memory is free");
                user.spin().await;
            }
            let region = user.register(page + PINNED, 512, true).await;
            let region = region.expect("mapped");
            user.fork_stopped().await.expect("memory is free");
            user.unregister(region).await.expect("registered");
            user.spin().await;
        });
        setup.thread(process, "storer", 1, move |user: User<'w>| async move {
            user.load_u32(page + PREV).await;
            user.store_u32(page + PREV, 1).await;
            user.store_u32(page + NEXT, 1).await;
            user.spin().await;
        });
    }
}
