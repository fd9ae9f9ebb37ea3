//! `huge`: a direct read into a huge page, a fork, a store elsewhere in the huge page.

use mmu::VirtAddr;
use os::{Errno, Setup, User};

use crate::{Budget, Parameter, Params, Reproducer, Verdict};

/// See the module.
pub struct Huge;

const FILE: &str = "disk";
/// What the disk has.
const DISK: u8 = 0xdd;
const SECTOR: u64 = mmu::SECTOR_SIZE as u64;
/// Where the disk puts its bytes: in the second 4 KiB of the huge page.
const BUFFER: u64 = mmu::PAGE_SIZE as u64 + SECTOR;
/// Fork comes after the pin and before the disk's head has arrived, where time decides.
const FORK_US: u64 = 50;

/// 64 pages of the huge page, and nothing else.
const PINS_ONLY: &[(&str, u64)] = &[("sectors", 504), ("fork", 0)];
/// All references of a request in one addition.
const ONE_ADDITION: &[Budget] = &[
    Budget::at_most("huge pin atomics", 1),
    Budget::at_most("huge pin barriers", 0),
];

impl Reproducer for Huge {
    fn name(&self) -> &'static str {
        "huge"
    }

    fn about(&self) -> &'static str {
        "a huge page is copied under a direct read, for a store to another 4 KiB of it"
    }

    fn story(&self) -> &'static str {
        "A thread reads a sector into a huge page with O_DIRECT; another forks, and then stores \
         somewhere else in the same 2 MiB. The store finds the huge page shared with the child and \
         copies all of it: the disk's sector lands in the old one, which only the child has. The \
         same race as on ordinary pages, in the separate paths that huge pages have, and 2 MiB wide: \
         the two threads need not share an ordinary page. From the vendor bug 471613, comments 64 to \
         72. Reduced: one huge page, one sector, the copy in two parts."
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "sectors",
                about: "sectors to read",
                default: 1,
                min: 1,
                max: 512,
            },
            Parameter {
                name: "reads",
                about: "how often they are read, one read after the other",
                default: 1,
                min: 1,
                max: 100,
            },
            Parameter {
                name: "parts",
                about: "steps in which a huge page is copied, a power of two",
                default: 2,
                min: 1,
                max: 512,
            },
            Parameter {
                name: "registered",
                about: "1: memory registered with a device, which writes it; 0: read",
                default: 0,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "fork",
                about: "1: fork and store",
                default: 1,
                min: 0,
                max: 1,
            },
        ]
    }

    fn check(&self, params: &Params) -> Result<(), String> {
        let parts = params.get("parts");
        if parts.is_power_of_two() {
            Ok(())
        } else {
            Err(format!("parts is {parts}; it must be a power of two"))
        }
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            const REGISTERED: &[(&str, u64)] = &[("registered", 1)];
            const LOST: &[&str] = &["CHECK", "CORRUPT"];
            &[
                Verdict::of("HUGE", "HUGE").words(LOST).bounded(3),
                Verdict::of("HUGE.lockless", "HUGE")
                    .kernel("v2.6.29")
                    .words(LOST)
                    .sampled(300),
                Verdict::of("A27", "HUGE").fixes(&["A27"]).words(LOST).sampled(300),
                Verdict::of("A28", "HUGE")
                    .fixes(&["A28"])
                    .words(&["ATOMIC", "CHECK", "CORRUPT", "INVERT"])
                    .bounded(3)
                    .note(
                        "a lock that may sleep is asked for under a spinlock; then the spinlock is \
                         taken again inside of it: the opposite order. Bytes are lost where fork and \
                         copy fit between a pin and its page lock",
                    ),
                Verdict::of("A33", "HUGE")
                    .fixes(&["A33"])
                    .words(LOST)
                    .sampled(300),
                Verdict::of("A30.huge", "HUGE").fixes(&["A30"]).bounded(3).guards(&[("range-not-entered", &["CHECK", "CORRUPT"])]),
                Verdict::of("A41.huge", "HUGE")
                    .fixes(&["A41"])
                    .words(LOST)
                    .sampled(300)
                    .note("the mark is there, and fork of huge pages does not look at it"),
                Verdict::of("A42.huge", "HUGE")
                    .fixes(&["A42.huge"])
                    .bounded(3).guards(&[("no-pin-mark", &["CHECK", "CORRUPT"])]),
                Verdict::of("A42.huge-lockless", "HUGE")
                    .kernel("v2.6.29")
                    .fixes(&["pg-gup", "pg-gup-huge"])
                    .words(LOST)
                    .sampled(300)
                    .note("the lockless pin of huge pages does not mark"),
                Verdict::of("B01.huge", "HUGE")
                    .kernel("v2.6.29")
                    .fixes(&["pg-gup", "pg-gup-fast", "pg-gup-huge"])
                    .words(LOST)
                    .bounded(3),
                Verdict::of("B02.huge", "HUGE")
                    .fixes(&["B02.huge"])
                    .bounded(3).guards(&[("no-recheck", &["CHECK", "CORRUPT"])]),
                Verdict::of("U15.huge", "HUGE")
                    .kernel("v5.11")
                    .set(REGISTERED)
                    .words(LOST)
                    .sampled(300)
                    .note("fork of huge pages does not look for pins yet"),
                Verdict::of("U16", "HUGE")
                    .guards(&[("fork-copies-none", LOST)])
                    .kernel("v2.6.18")
                    .fixes(&["dma-pins", "fork-copy-dma-pinned", "fork-copy-huge-pinned"])
                    .set(REGISTERED)
                    .bounded(3)
                    .note("with slow pins"),
                Verdict::of("U16.lockless", "HUGE")
                    .fixes(&["U16"])
                    .set(REGISTERED)
                    .words(LOST)
                    .bounded(3)
                    .note(
                        "the record has it clean: but fork counts itself (U15) only over small pages, \
                         and a lockless pin comes between fork's test of the huge page and the flush",
                    ),
                Verdict::of("U16.counted", "HUGE")
                    .guards(&[("fork-copies-none", LOST)])
                    .fixes(&["U16", "huge-write-protect-seq"])
                    .set(REGISTERED)
                    .bounded(3)
                    .note("as in v5.19"),
                Verdict::of("B05.before", "COST")
                    .kernel("v2.6.29")
                    .set(PINS_ONLY)
                    .budgets(ONE_ADDITION)
                    .sampled(20).guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("B05", "COST")
                    .fixes(&["B02"])
                    .set(PINS_ONLY)
                    .budgets(ONE_ADDITION)
                    .words(&["COST"])
                    .sampled(20)
                    .note(
                        "64 pages of a huge page: 64 additions, a write of the mark and 64 \
                         barriers, in place of one addition",
                    ),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let len = params.get("sectors") * SECTOR;
        let reads = params.get("reads");
        let registered = params.get("registered") == 1;
        setup.file(FILE, len, DISK);
        setup.huge_pool(2, params.get("parts") as u32);
        let process = setup.empty_process("huge");
        let page = setup.map_huge(process, 1);
        setup.fill(process, page, SECTOR, 0x11);
        setup.fill(process, page + BUFFER, len, 0x11);
        setup.thread(process, "reader", 0, move |user| async move {
            for _ in 0..reads {
                read(user, page + BUFFER, len, registered).await;
            }
            user.spin().await;
        });
        if params.get("fork") == 1 {
            setup.thread(process, "forker", 1, move |user| {
                fork_then_store(user, page)
            });
        }
    }
}

async fn read(user: User<'_>, at: VirtAddr, len: u64, registered: bool) {
    let read = match registered {
        true => read_registered(user, at, len).await,
        false => direct_read(user, at, len).await,
    };
    if read.is_ok()
        && let Some(at) = user.find_mismatch(at, len, DISK).await
    {
        user.check_failed(format!("byte {at} of what was read is lost"));
    }
}

async fn direct_read(user: User<'_>, at: VirtAddr, len: u64) -> Result<u64, Errno> {
    let file = user.open(FILE).await?;
    user.pread(file, at, len, 0).await
}

async fn read_registered(user: User<'_>, at: VirtAddr, len: u64) -> Result<u64, Errno> {
    let file = user.open(FILE).await?;
    let region = user.register(at, len, true).await?;
    let moved = user.device_write(region, file, at, len, 0).await;
    user.unregister(region).await?;
    moved
}

async fn fork_then_store(user: User<'_>, page: VirtAddr) {
    user.sleep_us(FORK_US).await;
    if user.fork(|_| async { 0 }).await.is_ok() {
        user.store_u32(page, 1).await;
    }
    user.spin().await;
}
