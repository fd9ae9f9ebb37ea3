//! `dio-rev`: a fork, then a page goes to the disk while both sides store to it.

use mmu::VirtAddr;
use os::{Errno, Setup, User};

use crate::{Budget, Parameter, Params, Reproducer, Verdict};

const STORY: &str = "\
A process forks, then writes a shared page to a file with O_DIRECT: the pin needs no write access, so \
the page stays shared. A thread of the parent stores and is given a copy; now the child alone maps \
the page, and its store goes straight into what the disk reads. linux-mm, 2009-03-14. A lock around \
fork cannot help, since the fork is long over. Reduced: one page, one sector, no time.";

const PAGE: u64 = 4096;
const FILE: &str = "disk";
const CHILDS: &str = "disk of the child";

/// See the module.
pub struct DioRev;

impl Reproducer for DioRev {
    fn name(&self) -> &'static str {
        "dio-rev"
    }

    fn about(&self) -> &'static str {
        "fork, then write a shared page to disk while parent and child store to it"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "pin",
                about: "0: write, 2: memory registered with a device",
                default: 0,
                min: 0,
                max: 2,
            },
            Parameter {
                name: "fork",
                about: "0: nobody forks or stores",
                default: 1,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "both",
                about: "1: the child does not store, but writes the page to disk as well",
                default: 0,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "zero",
                about: "1: the page has been read and never written: it is the zero page",
                default: 0,
                min: 0,
                max: 1,
            },
        ]
    }

    fn cpus(&self, _: &Params) -> u16 {
        3
    }

    // A bound is what is asked for; what its budget lets a search reach is said by `verdicts`.
    fn verdicts(&self) -> &'static [Verdict] {
        const NO_WALKS: &[Budget] = &[Budget::at_most("reverse-map walks in faults", 0)];
        const NO_REFUSALS: &[Budget] = &[Budget::at_most("pins refused", 0)];
        const ZERO: &[(&str, u64)] = &[("fork", 0), ("zero", 1)];
        const BOTH: &[(&str, u64)] = &[("both", 1)];
        const LOCKLESS: &[Budget] = &[Budget::at_least("fast pins", 1)];
        const REGISTERED: &[(&str, u64)] = &[("pin", 2)];
        const {
            &[
                Verdict::of("B21", "REV")
                    .bounded(3)
                    .fixes(&["A01"])
                    .words(&["CORRUPT"]),
                Verdict::of("B22", "REV")
                    .bounded(3)
                    .fixes(&["B22"])
                    .words(&["CORRUPT"]),
                Verdict::of("B23", "REV")
                    .bounded(3)
                    .fixes(&["B23"])
                    .guards(&[("read-pins-share", &["CORRUPT"])]),
                Verdict::of("B24.kept", "REV")
                    .bounded(3)
                    .fixes(&["B24"])
                    .guards(&[("read-pins-share", &["CORRUPT"])]),
                Verdict::of("B23.lockless", "COST")
                    .bounded(3)
                    .fixes(&["B23"])
                    .budgets(LOCKLESS)
                    .set(&[("fork", 0)]),
                Verdict::of("B24", "COST")
                    .bounded(3)
                    .fixes(&["B24"])
                    .set(&[("fork", 0)])
                    .words(&["COST"])
                    .budgets(LOCKLESS),
                Verdict::of("B12.reverse", "REV")
                    .bounded(3)
                    .kernel("v2.6.29")
                    .fixes(&["pinned-mappings"])
                    .guards(&[("fork-shares-writable", &["CORRUPT"])]),
                Verdict::of("B12.zero", "COST")
                    .bounded(3)
                    .kernel("v2.6.29")
                    .fixes(&["pinned-mappings"])
                    .set(ZERO)
                    .words(&["COST"])
                    .budgets(LOCKLESS),
                Verdict::of("B13.zero", "COST")
                    .bounded(3)
                    .fixes(&["B14"])
                    .set(ZERO)
                    .words(&["COST"])
                    .budgets(LOCKLESS)
                    .note("the mark is wanted of every page"),
                Verdict::of("B18.zero", "COST")
                    .bounded(3)
                    .fixes(&["B18"])
                    .set(ZERO)
                    .budgets(LOCKLESS)
                    .note("the mark is wanted of anonymous pages"),
                Verdict::of("B09.aligned-reverse", "REV")
                    .bounded(3)
                    .fixes(&["A01"])
                    .words(&["CORRUPT"])
                    .note("whole pages are no help"),
                Verdict::of("B06.reverse", "REV")
                    .bounded(3)
                    .fixes(&["B06"])
                    .guards(&[("fork-shares-writable", &["CORRUPT"])]),
                Verdict::of("B06", "REV")
                    .bounded(3)
                    .fixes(&["B06"])
                    .set(BOTH)
                    .words(&["CORRUPT"])
                    .note("the child's pin stays on the page that the parent keeps and stores to"),
                Verdict::of("B06.cost", "COST")
                    .bounded(3)
                    .fixes(&["B06"])
                    .words(&["COST"])
                    .budgets(NO_WALKS),
                Verdict::of("B07.reverse", "REV")
                    .bounded(3)
                    .fixes(&["B07"])
                    .guards(&[("fork-shares-writable", &["CORRUPT"])]),
                Verdict::of("B07.both", "REV")
                    .bounded(3)
                    .fixes(&["B07"])
                    .set(BOTH)
                    .guards(&[("pins-not-looked-for", &["CORRUPT"])])
                    .note("one of the two fails with EAGAIN, unless it comes after the other"),
                Verdict::of("B07", "REV")
                    .bounded(3)
                    .fixes(&["B07"])
                    .set(BOTH)
                    .words(&["COST"])
                    .budgets(NO_REFUSALS),
                Verdict::of("B32", "REV")
                    .bounded(3)
                    .fixes(&["B31"])
                    .words(&["CORRUPT"]),
                Verdict::of("B50.reverse", "REV")
                    .bounded(3)
                    .fixes(&["B50"])
                    .guards(&[("fork-shares-writable", &["CORRUPT"])]),
                Verdict::of("B50.zero", "COST")
                    .bounded(3)
                    .fixes(&["B50"])
                    .set(ZERO)
                    .words(&["COST"])
                    .budgets(LOCKLESS),
                Verdict::of("B52.zero", "COST")
                    .bounded(3)
                    .fixes(&["B52"])
                    .set(ZERO)
                    .budgets(LOCKLESS),
                Verdict::of("B52.reverse", "REV")
                    .bounded(3)
                    .fixes(&["B52"])
                    .guards(&[("read-pins-share", &["CORRUPT"])]),
                Verdict::of("B18.reverse", "REV")
                    .bounded(3)
                    .fixes(&["B18"])
                    .guards(&[("read-pins-share", &["CORRUPT"])]),
                Verdict::of("U10", "REV")
                    .bounded(3)
                    .fixes(&["U10"])
                    .guards(&[("read-pins-share", &["CORRUPT"])]),
                Verdict::of("U11", "REV")
                    .bounded(3)
                    .kernel("v2.6.29")
                    .fixes(&["cow-only-reference"])
                    .guards(&[("count-untested", &["CORRUPT"])]),
                Verdict::of("U18.reverse", "REV")
                    .bounded(3)
                    .fixes(&["U18"])
                    .set(REGISTERED)
                    .words(&["CORRUPT"])
                    .note("a pin that only reads asks for nothing: what U19 is for"),
                Verdict::of("U19", "REV")
                    .guards(&[("unshares-none", &["CORRUPT"])])
                    .bounded(3)
                    .fixes(&["U19"])
                    .set(REGISTERED),
                Verdict::of("v5.19", "REV")
                    .guards(&[("unshares-none", &["CORRUPT"])])
                    .bounded(3)
                    .kernel("v5.19")
                    .set(REGISTERED),
                Verdict::of("v6.5", "REV")
                    .guards(&[("count-untested", &["CORRUPT"])])
                    .bounded(3)
                    .kernel("v6.5"),
                Verdict::of("v6.5.pinned", "REV")
                    .guards(&[("unshares-none", &["CORRUPT"])])
                    .bounded(3)
                    .kernel("v6.5")
                    .set(REGISTERED),
                Verdict::of("B35", "REV")
                    .bounded(3)
                    .fixes(&["B35"])
                    .guards(&[("count-untested", &["CORRUPT"])]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let pin = params.get("pin");
        let forks = params.get("fork") == 1;
        let both = params.get("both") == 1;
        let zero = params.get("zero") == 1;
        setup.file(FILE, 512, 0);
        if both {
            setup.file(CHILDS, 512, 0);
        }
        let process = setup.empty_process("dio-rev");
        setup.keep_memory(process);
        let page = setup.map(process, PAGE);
        setup.fill(process, page, PAGE, 0x11);
        setup.thread(process, "writer", 0, move |user: User<'w>| async move {
            if forks {
                let child = user.fork(move |user| async move {
                    if both {
                        write_out(user, CHILDS, page).await;
                    } else {
                        user.store_u32(page, 0xffff_ffff).await;
                    }
                    user.spin().await;
                    0
                });
                child.await.expect("memory is free");
            }
            if zero {
                let page = user.mmap(PAGE).await.expect("memory is free");
                user.load_u32(page).await;
                write_out(user, FILE, page).await;
            } else if pin == 0 {
                write_out(user, FILE, page).await;
            } else {
                let file = user.open(FILE).await.expect("prepared");
                let region = user.register(page, 512, false).await.expect("mapped");
                let moved = user.device_read(region, file, page, 512, 0).await;
                moved.expect("registered");
                user.unregister(region).await.expect("registered");
            }
            user.spin().await;
        });
        if !forks {
            return;
        }
        setup.thread(process, "storer", 1, move |user: User<'w>| async move {
            user.store_u32(page, 0x2222_2222).await;
            user.spin().await;
        });
    }
}

/// A kernel that refuses the pin says so, and nothing is written.
async fn write_out(user: User<'_>, name: &str, page: VirtAddr) {
    let file = user.open(name).await.expect("prepared");
    match user.pwrite(file, page, 512, 0).await {
        Ok(_) | Err(Errno::EAGAIN) => {}
        Err(error) => user.check_failed(format!("the page cannot be written to disk: {error}")),
    }
}
