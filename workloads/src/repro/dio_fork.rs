//! `dio-fork`: a pinned page, a fork, a store: the small program for every fix that guards the pages
//! of direct I/O while the disk works.

use mmu::VirtAddr;
use os::{Advice, Setup, User};

use crate::{Budget, Parameter, Params, Reproducer, Verdict};

const STORY: &str = "\
One thread reads sectors into a page, another forks, a third stores elsewhere in the page. If the \
fork comes between the pin and the last sector, and the store while the child still maps the page, \
the parent gets a copy and the disk writes into the page that the child has kept. The fixes of 2008 \
and 2009 that do not touch fork's copying lock something over the I/O: the page, a semaphore in the \
page, a semaphore in the address space, mmap_sem, the range. Each has its own window. Red Hat bug \
471613 and linux-mm, March 2009. Reduced: one page, a sector or two, no time: all orders are tried.";

const PAGE: u64 = 4096;
const SECTOR: u64 = 512;
const DISK: u8 = 0xdd;
const FILE: &str = "disk";

/// The page is pinned.
const PINNED: u32 = 0;
/// The child has come and gone, or the page may be written again.
const FORKED: u32 = 1;

/// The page is read-only while the forker forks.
const READ_ONLY: u64 = 3;
/// The storer waits until the child is gone.
const CHILD_FIRST: u64 = 4;
/// The storer waits until the child has stored.
const CHILD_STORES: u64 = 5;
/// The storer waits until the disk's sector is in the page.
const READ_FIRST: u64 = 6;

/// How the page is pinned.
const SYNC: u64 = 0;
const ASYNC: u64 = 1;
const REGISTERED: u64 = 2;

/// See the module.
pub struct DioFork;

impl Reproducer for DioFork {
    fn name(&self) -> &'static str {
        "dio-fork"
    }

    fn about(&self) -> &'static str {
        "a thread reads into a page, another forks, a third stores to the page"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "pin",
                about: "0: read, 1: asynchronous read, 2: memory registered with a device",
                default: SYNC,
                min: SYNC,
                max: REGISTERED,
            },
            Parameter {
                name: "bios",
                about: "sectors read, each a transfer of its own",
                default: 1,
                min: 1,
                max: 4,
            },
            Parameter {
                name: "segments",
                about: "buffers in the page, a sector each",
                default: 1,
                min: 1,
                max: 2,
            },
            Parameter {
                name: "fork",
                about: "0: nobody forks, 1: fork, 2: vfork, and the child runs another program, 3: fork \
                        while the page is read-only, then store, 4: fork, and the child ends before the \
                        store, 5: fork, and the child stores before the store, 6: fork, and the read is \
                        over before the store",
                default: 1,
                min: 0,
                max: READ_FIRST,
            },
            Parameter {
                name: "dontfork",
                about: "1: the page is left out at fork",
                default: 0,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "dontcow",
                about: "1: the page has the advice to be copied at fork",
                default: 0,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "marked",
                about: "1: the page was pinned once before",
                default: 0,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "early",
                about: "1: the reader forks first; that child shares the page for ever",
                default: 0,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "ends",
                about: "1: the child ends at once; 0: it sleeps on, and shares the page for ever",
                default: 0,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "neighbour",
                about: "1: in place of the store, a read into the page's first sector begins when the \
                        first read is submitted (`pin=1`); 2: the same, and the first sector is the \
                        first read's",
                default: 0,
                min: 0,
                max: 2,
            },
            Parameter {
                name: "store",
                about: "where the third thread stores; 4096 and more: in the next page",
                default: 4,
                min: 0,
                max: 4604,
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

    fn cpus(&self, _: &Params) -> u16 {
        3
    }

    fn store_buffers(&self, params: &Params) -> bool {
        params.get("buffers") == 1
    }

    fn check(&self, params: &Params) -> Result<(), String> {
        if !params.get("store").is_multiple_of(4) {
            return Err("`store` is a multiple of 4".to_string());
        }
        if params.get("fork") == READ_ONLY && params.get("pin") == SYNC {
            return Err("`fork=3` wants `pin=1` or `pin=2`".to_string());
        }
        if params.get("neighbour") > 0 && params.get("pin") != ASYNC {
            return Err("`neighbour` wants `pin=1`".to_string());
        }
        if params.get("segments") > 1 && params.get("pin") != SYNC {
            return Err("`segments` wants `pin=0`".to_string());
        }
        Ok(())
    }

    // A bound is what is asked for; what its budget lets a search reach is said by `verdicts`.
    fn verdicts(&self) -> &'static [Verdict] {
        const NO_FORK_WAITS: &[Budget] = &[Budget::at_most("forks that waited for pins", 0)];
        // A disk needs ten times as long.
        const FORK_WAITS_NOT: &[Budget] = &[Budget::at_most("cycles in fork", 1_000_000)];
        const NO_FAULT_WAITS: &[Budget] = &[Budget::at_most("write faults that waited for I/O", 0)];
        const NO_RETRIES: &[Budget] = &[Budget::at_most("faults sent back", 0)];
        const COST: &[&str] = &["COST"];
        const BUFFERS: &[(&str, u64)] = &[("buffers", 1)];
        const LOST: &[&str] = &["CHECK", "CORRUPT"];
        const {
            &[
                Verdict::of("A01", "FWD")
                    .bounded(3)
                    .fixes(&["A01"])
                    .words(LOST),
                Verdict::of("A02", "FWD")
                    .bounded(3)
                    .fixes(&["A01"])
                    .set(&[("pin", 1), ("neighbour", 2)])
                    .words(LOST)
                    .note("the head of the page is lost"),
                Verdict::of("A03", "FWD")
                    .bounded(3)
                    .fixes(&["A01"])
                    .set(&[("pin", 1), ("neighbour", 1)])
                    .words(LOST)
                    .note("the tail of the page is lost"),
                Verdict::of("A04", "FWD")
                    .bounded(3)
                    .fixes(&["A01"])
                    .set(&[("store", 4096)])
                    .note("the buffer has its pages to itself").guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("A05", "FWD")
                    .bounded(3)
                    .fixes(&["A01"])
                    .set(&[("fork", 4)])
                    .note("the child is gone before the store").guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("A05.child", "FWD")
                    .bounded(3)
                    .fixes(&["A01"])
                    .set(&[("fork", 5)])
                    .note("the child stores first, and gets the copy").guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("A05.landed", "FWD")
                    .bounded(3)
                    .fixes(&["A01"])
                    .set(&[("fork", 6)])
                    .note("what is copied has the disk's bytes already").guards(&[("completes-early", &["CHECK", "CORRUPT"])]),
                Verdict::of("A40", "FWD")
                    .bounded(3)
                    .fixes(&["A40"])
                    .set(&[("early", 1)])
                    .words(LOST)
                    .note("the pin breaks copy-on-write, and does not mark"),
                Verdict::of("U02.pin", "FWD")
                    .bounded(3)
                    .kernel("v2.6.18")
                    .fixes(&["A40", "pin-keeps-asking"])
                    .set(&[("early", 1)])
                    .note("the pin goes on asking for write access, and so marks the page that A40 misses")
                    .guards(&[("no-pin-mark", LOST)]),
                Verdict::of("A40.owned", "FWD").bounded(3).fixes(&["A40"]).guards(&[("no-pin-mark", &["CHECK", "CORRUPT"])]),
                Verdict::of("A41", "FWD")
                    .bounded(3)
                    .fixes(&["A41"])
                    .guards(&[("no-pin-mark", LOST)]),
                Verdict::of("A41.early", "FWD")
                    .bounded(3)
                    .fixes(&["A41"])
                    .set(&[("early", 1)])
                    .guards(&[("no-pin-mark", LOST)]),
                Verdict::of("A52", "FAST")
                    .bounded(3)
                    .fixes(&["A52"])
                    .words(LOST),
                Verdict::of("A56", "FWD")
                    .bounded(3)
                    .fixes(&["A56"])
                    .set(&[("pin", 2), ("fork", 3)])
                    .words(LOST),
                Verdict::of("A56.any", "FWD")
                    .bounded(3)
                    .fixes(&["A56", "fork-test-read-only"])
                    .set(&[("pin", 2), ("fork", 3)]).guards(&[("no-pin-mark", &["CHECK", "CORRUPT"])]),
                Verdict::of("B01", "FAST")
                    .bounded(3)
                    .fixes(&["B01"])
                    .words(LOST),
                Verdict::of("B02", "FAST")
                    .bounded(3)
                    .fixes(&["B02"])
                    .guards(&[("no-recheck", LOST)]),
                Verdict::of("B04", "FAST")
                    .bounded(3)
                    .fixes(&["B04"])
                    .words(LOST)
                    .note("rare: pct:7 finds it, 10,000 schedules of pct:4 do not"),
                Verdict::of("B10", "FWD")
                    .bounded(3)
                    .fixes(&["A01"])
                    .set(&[("dontfork", 1)]).guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("B23.forward", "FAST")
                    .bounded(3)
                    .fixes(&["B23"]).guards(&[("no-recheck", &["CHECK", "CORRUPT"])]),
                Verdict::of("U09", "FWD")
                    .bounded(3)
                    .fixes(&["U09"])
                    .set(&[("pin", 2)])
                    .words(LOST),
                Verdict::of("U13.slow", "FWD")
                    .bounded(3)
                    .fixes(&["U13.slow"])
                    .set(&[("pin", 2)]).guards(&[("fork-copies-none", &["CHECK", "CORRUPT"])]),
                Verdict::of("U13", "FAST")
                    .bounded(3)
                    .fixes(&["U13"])
                    .set(&[("pin", 2)])
                    .words(LOST),
                Verdict::of("U14", "FAST")
                    .bounded(3)
                    .fixes(&["U14"])
                    .set(&[("pin", 2)])
                    .words(LOST)
                    .note("fork looks for pins before it takes write access away"),
                Verdict::of("U14.first", "FAST")
                    .bounded(3)
                    .fixes(&["U14.first"])
                    .set(&[("pin", 2)])
                    .note("without store buffers")
                    .guards(&[("fork-copies-none", LOST)]),
                Verdict::of("U14.first-buffers", "FAST")
                    .bounded(3)
                    .fixes(&["U14.first"])
                    .set(&[("pin", 2), ("buffers", 1)])
                    .words(LOST)
                    .note("no barrier between the loss of write access and the look at the pins"),
                Verdict::of("U15", "FAST")
                    .bounded(3)
                    .fixes(&["U15"])
                    .set(&[("pin", 2)])
                    .guards(&[("seq-read-once", LOST)]),
                Verdict::of("U15.direct", "FWD")
                    .bounded(3)
                    .fixes(&["U15"])
                    .words(LOST)
                    .note("direct I/O takes references, and no pins"),
                Verdict::of("U22", "FWD").bounded(3).fixes(&["U22"]).guards(&[("fork-copies-none", &["CHECK", "CORRUPT"])]),
                Verdict::of("U22.async", "FWD")
                    .bounded(3)
                    .fixes(&["U22"])
                    .set(&[("pin", 1)]).guards(&[("fork-copies-none", &["CHECK", "CORRUPT"])]),
                Verdict::of("B02.buffers", "FAST")
                    .bounded(3)
                    .fixes(&["B02"])
                    .set(BUFFERS)
                    .guards(&[("no-pin-barrier", LOST), ("no-fork-barrier", LOST)]),
                Verdict::of("B02.in-order", "FAST")
                    .guards(&[("no-recheck", LOST)])
                    .bounded(3)
                    .fixes(&["B02", "no-pin-barrier", "no-fork-barrier"])
                    .note("without store buffers nobody needs the barriers"),
                Verdict::of("U18", "FWD")
                    .guards(&[("shares-untested", LOST)])
                    .bounded(3)
                    .fixes(&["U18"])
                    .set(&[("pin", 2)]),
                Verdict::of("U18.direct", "FWD")
                    .bounded(3)
                    .fixes(&["U18"])
                    .words(LOST)
                    .note("direct I/O takes references, and no pins"),
                Verdict::of("U20.forward", "FWD")
                    .guards(&[("shares-untested", LOST)])
                    .bounded(3)
                    .kernel("v6.1-broadcast")
                    .set(&[("pin", 2), ("buffers", 1)]),
                Verdict::of("v5.19", "FWD")
                    .guards(&[("shares-untested", LOST)])
                    .bounded(3)
                    .kernel("v5.19")
                    .set(&[("pin", 2)]),
                Verdict::of("v6.1", "FWD")
                    .guards(&[("shares-untested", LOST)])
                    .bounded(3)
                    .kernel("v6.1")
                    .set(&[("pin", 2)]),
                Verdict::of("v6.1.direct", "FWD")
                    .bounded(3)
                    .kernel("v6.1")
                    .words(LOST),
                Verdict::of("v6.5", "FWD")
                    .guards(&[("shares-untested", LOST)])
                    .bounded(3)
                    .kernel("v6.5"),
                Verdict::of("v6.5.async", "FWD")
                    .guards(&[("shares-untested", LOST)])
                    .bounded(3)
                    .kernel("v6.5")
                    .set(&[("pin", 1)]),
                Verdict::of("v5.8", "FWD")
                    .bounded(3)
                    .kernel("v5.8")
                    .fixes(&[])
                    .set(&[("pin", 2)])
                    .words(LOST),
                Verdict::of("v5.9", "FAST")
                    .bounded(3)
                    .kernel("v5.9")
                    .fixes(&[])
                    .set(&[("pin", 2)])
                    .words(LOST),
                Verdict::of("v5.11", "FAST")
                    .bounded(3)
                    .kernel("v5.11")
                    .fixes(&[])
                    .set(&[("pin", 2)]).guards(&[("seq-read-once", &["CHECK", "CORRUPT"])]),
                Verdict::of("A20", "FWD")
                    .bounded(3)
                    .fixes(&["A20"])
                    .words(LOST),
                Verdict::of("A21", "FWD").bounded(3).fixes(&["A21"]).guards(&[("page-lock-at-submit", &["CHECK", "CORRUPT"])]),
                Verdict::of("A22", "FWD")
                    .bounded(3)
                    .fixes(&["A22"])
                    .words(LOST),
                Verdict::of("A22.early", "FWD")
                    .bounded(3)
                    .fixes(&["A22"])
                    .set(&[("bios", 2)])
                    .words(LOST),
                Verdict::of("A23", "FWD")
                    .bounded(3)
                    .fixes(&["A23"])
                    .words(LOST),
                Verdict::of("A24", "FWD")
                    .bounded(3)
                    .fixes(&["A24"])
                    .guards(&[("page-sem-at-submit", LOST)]),
                Verdict::of("A24.two", "FWD")
                    .sampled(1000)
                    .fixes(&["A24"])
                    .set(&[("bios", 2)])
                    .guards(&[("page-sem-to-first", LOST)]),
                Verdict::of("A26", "FWD")
                    .bounded(3)
                    .fixes(&["A26"])
                    .guards(&[("page-sem-at-submit", LOST)]),
                Verdict::of("A20.twice", "FWD")
                    .exhaustive()
                    .fixes(&["A20"])
                    .set(&[("segments", 2), ("fork", 0)])
                    .words(&["DEADLOCK"]),
                Verdict::of("B11", "FWD")
                    .bounded(3)
                    .fixes(&["B11"])
                    .set(&[("dontcow", 1)]).guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("B11.unmarked", "FWD")
                    .bounded(3)
                    .fixes(&["B11"])
                    .words(LOST),
                Verdict::of("B13", "FWD")
                    .bounded(3)
                    .fixes(&["B13"])
                    .words(&["LEAK"]),
                Verdict::of("B14", "FAST")
                    .bounded(3)
                    .fixes(&["B14"])
                    .set(&[("marked", 1)]).guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("B18", "FWD").bounded(3).fixes(&["B18"]).guards(&[("no-pin-mark", &["CHECK", "CORRUPT"])]),
                Verdict::of("B18.fast", "FAST")
                    .bounded(3)
                    .fixes(&["B18"])
                    .set(&[("marked", 1)]).guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("B18.read-only", "FWD")
                    .bounded(3)
                    .fixes(&["B18"])
                    .set(&[("fork", READ_ONLY), ("pin", ASYNC)]).guards(&[("no-pin-mark", &["CHECK", "CORRUPT"])]),
                Verdict::of("B53.forward", "FWD").bounded(3).fixes(&["B53"]).guards(&[("fork-copies-none", &["CHECK", "CORRUPT"])]),
                Verdict::of("A53", "CTX")
                    .exhaustive()
                    .fixes(&["A01"])
                    .set(&[("segments", 2), ("fork", 0)])
                    .note("each segment of a page has a reference of its own: nothing is wrong").guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("A30", "FWD")
                    .bounded(3)
                    .fixes(&["A30"])
                    .set(&[("ends", 1)])
                    .guards(&[("range-not-entered", LOST)]),
                Verdict::of("A30.async", "FWD")
                    .bounded(3)
                    .fixes(&["A30"])
                    .set(&[("pin", 1), ("ends", 1)]).guards(&[("range-not-entered", &["CHECK", "CORRUPT"])]),
                Verdict::of("A30.late", "FWD")
                    .bounded(3)
                    .fixes(&["A30"])
                    .words(&["LIVELOCK"])
                    .note("the fork comes between the range and the pin, and the child lives on"),
                Verdict::of("A31", "FWD")
                    .bounded(3)
                    .fixes(&["A30"])
                    .set(&[("early", 1), ("fork", 0)])
                    .words(&["LIVELOCK"]),
                Verdict::of("A01.early", "FWD")
                    .bounded(3)
                    .fixes(&["A01"])
                    .set(&[("early", 1), ("fork", 0)]).guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("A32", "FWD")
                    .bounded(3)
                    .fixes(&["A32"])
                    .set(&[("store", 0), ("ends", 1)])
                    .words(LOST),
                Verdict::of("A32.inside", "FWD")
                    .bounded(3)
                    .fixes(&["A32"])
                    .set(&[("ends", 1)]).guards(&[("range-not-entered", &["CHECK", "CORRUPT"])]),
                Verdict::of("A32.whole", "FWD")
                    .bounded(3)
                    .fixes(&["A30"])
                    .set(&[("store", 0), ("ends", 1)]).guards(&[("range-not-entered", &["CHECK", "CORRUPT"])]),
                Verdict::of("B31", "FWD")
                    .bounded(3)
                    .fixes(&["B31"])
                    .guards(&[("fork-sem-to-submit", LOST)]),
                Verdict::of("B31.async", "FWD")
                    .bounded(3)
                    .fixes(&["B31"])
                    .set(&[("pin", 1)])
                    .words(LOST),
                Verdict::of("B33", "FWD")
                    .bounded(3)
                    .fixes(&["B31"])
                    .set(&[("pin", 2)])
                    .words(LOST),
                Verdict::of("B34", "FWD").bounded(3).fixes(&["B34"]).guards(&[("fork-sem-to-submit", &["CHECK", "CORRUPT"])]),
                Verdict::of("B12", "FWD")
                    .bounded(3)
                    .fixes(&["B12"])
                    .words(&["LEAK"])
                    .note(
                        "CORRUPT of the record: the child's page is torn (B12.snap), the semaphore's \
                         count is wrong (B12.exclusive); no byte of a transfer is lost",
                    ),
                Verdict::of("B12.forward", "FWD")
                    .bounded(3)
                    .kernel("v2.6.29")
                    .fixes(&["pinned-mappings"]).guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("B12.exclusive", "CTX")
                    .bounded(3)
                    .fixes(&["B12.exclusive"])
                    .set(&[("fork", 0)])
                    .words(&["BUG"]),
                Verdict::of("B06.forward", "FWD")
                    .bounded(3)
                    .fixes(&["B06"])
                    .note("only the first owner pins").guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("B07.forward", "FWD").bounded(3).fixes(&["B07"]).guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("B52.forward", "FWD").bounded(3).fixes(&["B52"]).guards(&[("fork-sem-to-submit", &["CHECK", "CORRUPT"])]),
                Verdict::of("B52", "COST")
                    .bounded(3)
                    .fixes(&["B52"])
                    .words(COST)
                    .budgets(NO_FORK_WAITS),
                Verdict::of("B50", "FWD")
                    .bounded(3)
                    .fixes(&["B50"])
                    .guards(&[("fork-sem-to-submit", LOST)]),
                Verdict::of("B50.async", "FWD")
                    .bounded(3)
                    .fixes(&["B50"])
                    .set(&[("pin", 1)])
                    .guards(&[("fork-sem-to-submit", LOST)]),
                Verdict::of("B51", "FWD")
                    .bounded(3)
                    .fixes(&["B50"])
                    .set(&[("pin", 2)])
                    .words(LOST),
                Verdict::of("B08", "FWD")
                    .bounded(3)
                    .fixes(&["B08"])
                    .words(&["DEADLOCK"]),
                Verdict::of("B08.before", "COST")
                    .sampled(20)
                    .fixes(&["A01"])
                    .set(&[("dontfork", 1)])
                    .budgets(FORK_WAITS_NOT)
                    .guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("B08.cost", "COST")
                    .sampled(20)
                    .fixes(&["B08", "mmap-sem-once"])
                    .set(&[("dontfork", 1)])
                    .words(COST)
                    .budgets(FORK_WAITS_NOT)
                    .note("the memory is left out at fork, and fork waits for the disk all the same"),
                Verdict::of("B08.once", "FWD")
                    .bounded(3)
                    .fixes(&["B08", "mmap-sem-once"]).guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("A24.cost", "FWD")
                    .bounded(3)
                    .fixes(&["A24"])
                    .words(COST)
                    .budgets(NO_FAULT_WAITS),
                Verdict::of("A26.cost", "FWD")
                    .bounded(3)
                    .fixes(&["A26"])
                    .words(COST)
                    .budgets(NO_FAULT_WAITS),
                Verdict::of("A30.cost", "FWD")
                    .bounded(3)
                    .fixes(&["A30"])
                    .set(&[("ends", 1)])
                    .words(COST)
                    .budgets(NO_RETRIES),
                Verdict::of("B34.registered", "FWD")
                    .bounded(3)
                    .fixes(&["B34"])
                    .set(&[("pin", 2)])
                    .words(COST)
                    .budgets(NO_FORK_WAITS),
                Verdict::of("B50.cost", "FWD")
                    .bounded(3)
                    .fixes(&["B50"])
                    .words(COST)
                    .budgets(NO_FORK_WAITS),
                Verdict::of("B09", "FWD")
                    .bounded(3)
                    .fixes(&["A01"])
                    .words(LOST)
                    .note("documentation changes no schedule"),
                Verdict::of("B09.aligned", "FWD")
                    .bounded(3)
                    .fixes(&["A01"])
                    .set(&[("store", 4096)])
                    .note("whole pages: nobody else stores to them")
                    .guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("B09.vfork", "FWD")
                    .exhaustive()
                    .fixes(&["A01"])
                    .set(&[("fork", 2)]).guards(&[("completes-early", &["CHECK"])]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let (pin, bios) = (params.get("pin"), params.get("bios"));
        let (segments, store) = (params.get("segments"), params.get("store"));
        let bytes = SECTOR * bios * segments;
        setup.cut_direct_io(64, if bios > 1 { SECTOR } else { PAGE });
        setup.file(FILE, bytes, DISK);
        let process = setup.empty_process("dio-fork");
        setup.keep_memory(process);
        let memory = if store < PAGE { PAGE } else { 2 * PAGE };
        let page = setup.map(process, memory);
        setup.fill(process, page, memory, 0x11);
        if params.get("dontcow") == 1 {
            setup.copied_at_fork(process, page);
        }
        if params.get("marked") == 1 {
            setup.pinned_once(process, page);
        }
        let neighbour = params.get("neighbour");
        let (at, beside) = match neighbour {
            2 => (page, page + SECTOR * bios),
            _ => (page + SECTOR, page),
        };
        let each = SECTOR * bios;
        let early = params.get("early") == 1;
        let dontfork = params.get("dontfork") == 1;
        let fork = params.get("fork");
        let ends = params.get("ends") == 1;
        setup.thread(process, "reader", 0, move |user| async move {
            if early {
                user.fork_stopped().await.expect("memory is free");
            }
            if dontfork {
                let left_out = user.madvise(page, PAGE, Advice::DontFork).await;
                left_out.expect("mapped");
            }
            match pin {
                SYNC => read(user, at, each, segments).await,
                ASYNC => read_async(user, at, each).await,
                _ => read_registered(user, at, each).await,
            }
            if fork == READ_FIRST {
                user.signal_event(FORKED).await;
            }
            if let Some(at) = user.find_mismatch(at, bytes, DISK).await {
                user.check_failed(format!("byte {at} of what was read is lost"));
            }
            user.spin().await;
        });
        match fork {
            0 => {}
            READ_ONLY => setup.thread(process, "forker", 1, move |user| async move {
                user.poll_event(PINNED).await;
                user.mprotect(page, PAGE, false).await.expect("mapped");
                let _ = user.fork_stopped().await;
                user.mprotect(page, PAGE, true).await.expect("mapped");
                user.signal_event(FORKED).await;
                user.spin().await;
            }),
            CHILD_FIRST => setup.thread(process, "forker", 1, |user| async move {
                if let Ok(child) = user.fork(|_| async { 0 }).await {
                    let _ = user.wait(Some(child)).await;
                }
                user.signal_event(FORKED).await;
            }),
            CHILD_STORES => setup.thread(process, "forker", 1, move |user| async move {
                let child = user.fork(move |user| async move {
                    user.store_u32(page + store, 2).await;
                    user.signal_event(FORKED).await;
                    user.spin().await;
                    0
                });
                let _ = child.await;
                user.spin().await;
            }),
            1 | READ_FIRST => setup.thread(process, "forker", 1, move |user| async move {
                let _ = match ends {
                    true => user.fork(|_| async { 0 }).await,
                    false => user.fork_stopped().await,
                };
                user.spin().await;
            }),
            // What the other program does is no concern of this address space: it ends.
            _ => setup.thread(process, "forker", 1, |user| async move {
                user.vfork(|_| async { 0 }).await;
            }),
        }
        if neighbour > 0 {
            setup.thread(process, "neighbour", 2, move |user| async move {
                user.poll_event(PINNED).await;
                read(user, beside, SECTOR, 1).await;
                user.spin().await;
            });
            return;
        }
        setup.thread(process, "storer", 2, move |user| async move {
            match fork {
                // The child needs a CPU.
                CHILD_FIRST | CHILD_STORES => user.wait_event(FORKED).await,
                READ_ONLY | READ_FIRST => user.poll_event(FORKED).await,
                _ => {}
            }
            user.store_u32(page + store, 1).await;
            user.spin().await;
        });
    }
}

async fn read(user: User<'_>, at: VirtAddr, each: u64, segments: u64) {
    let file = user.open(FILE).await.expect("prepared");
    let all: Vec<_> = (0..segments).map(|it| (at + it * each, each)).collect();
    user.preadv(file, &all, 0).await.expect("mapped");
}

async fn read_async(user: User<'_>, at: VirtAddr, len: u64) {
    let file = user.open(FILE).await.expect("prepared");
    let request = user.aio_read(file, at, len, 0).await.expect("mapped");
    user.signal_event(PINNED).await;
    user.aio_poll(request).await.expect("submitted");
}

async fn read_registered(user: User<'_>, at: VirtAddr, len: u64) {
    let file = user.open(FILE).await.expect("prepared");
    let region = user.register(at, len, true).await.expect("mapped");
    user.signal_event(PINNED).await;
    let moved = user.device_write(region, file, at, len, 0).await;
    moved.expect("registered");
    user.unregister(region).await.expect("registered");
}
