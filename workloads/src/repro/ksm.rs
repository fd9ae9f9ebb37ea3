//! `ksm`: same-page merging of two pages, one of which is pinned.

use mmu::VirtAddr;
use os::{Setup, User};

use crate::{Parameter, Params, Reproducer, Verdict};

const STORY: &str = "\
Two pages of a process hold the same, and a kernel thread merges them: one frame, mapped read-only \
twice. The disk reads or writes one of the pages meanwhile. A store to it breaks the sharing, and the \
disk's bytes land in a frame that the address no longer maps. Merging must look for \
foreign references, and when it looks matters. linux-mm, 2009-03-11 and 2009-03-16, on how KSM does \
it. Reduced: two pages, one sector of I/O, one attempt.";

const PAGE: u64 = 4096;
const SECTOR: u64 = 512;
const DISK: u8 = 0xdd;
const FILE: &str = "disk";

/// See the module.
pub struct Ksm;

impl Reproducer for Ksm {
    fn name(&self) -> &'static str {
        "ksm"
    }

    fn about(&self) -> &'static str {
        "two equal pages are merged while one of them is read or written by direct I/O"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "write",
            about: "1: the page goes to the disk; 0: a sector of the disk goes into it",
            default: 1,
            min: 0,
            max: 1,
        }]
    }

    fn kernel(&self) -> &'static str {
        "v2.6.29"
    }

    fn cpus(&self, _: &Params) -> u16 {
        3
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const READ: &[(&str, u64)] = &[("write", 0)];
        const SLOW: &[&str] = &["wait-for-page-lock", "ksm-count-first"];
        const LOST: &[&str] = &["CHECK", "CORRUPT"];
        const {
            &[
                Verdict::of("B41", "REV").bounded(3).fixes(&["B41"]),
                Verdict::of("B41.read", "FWD")
                    .bounded(3)
                    .fixes(&["B41"])
                    .set(READ)
                    .guards(&[("ksm-count-first", LOST)]),
                Verdict::of("B41.slow", "FWD")
                    .bounded(3)
                    .kernel("v2.6.18")
                    .fixes(SLOW)
                    .set(READ)
                    .note("a pin under the page-table lock cannot come between")
                    .guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("B41.first", "FWD")
                    .bounded(3)
                    .fixes(&["ksm-count-first"])
                    .set(READ)
                    .words(LOST),
                Verdict::of("B41.unchecked", "FWD")
                    .bounded(3)
                    .set(READ)
                    .words(LOST),
                Verdict::of("B41.unchecked-write", "REV")
                    .bounded(3)
                    .note("a merged page is never written in place, so its bytes stay"),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let writes = params.get("write") == 1;
        setup.file(FILE, SECTOR, DISK);
        let process = setup.empty_process("ksm");
        setup.keep_memory(process);
        let one = setup.map(process, 2 * PAGE);
        let other = one + PAGE;
        setup.fill(process, one, 2 * PAGE, 0x11);
        setup.thread(process, "io", 0, move |user: User<'w>| async move {
            if writes {
                write(user, one).await;
            } else {
                read(user, one + SECTOR).await;
            }
            user.spin().await;
        });
        setup.merger(1, process, other, one);
        setup.thread(process, "storer", 2, move |user: User<'w>| async move {
            user.store_u32(one, 0x2222_2222).await;
            if writes {
                user.store_u32(other, 0x3333_3333).await;
            }
            user.spin().await;
        });
    }
}

async fn write(user: User<'_>, at: VirtAddr) {
    let file = user.open(FILE).await.expect("prepared");
    user.pwrite(file, at, SECTOR, 0).await.expect("mapped");
}

async fn read(user: User<'_>, at: VirtAddr) {
    let file = user.open(FILE).await.expect("prepared");
    user.pread(file, at, SECTOR, 0).await.expect("mapped");
    if let Some(at) = user.find_mismatch(at, SECTOR, DISK).await {
        user.check_failed(format!("byte {at} of what was read is lost"));
    }
}
