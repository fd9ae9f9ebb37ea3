//! `dio-rev`: a fork, then a page goes to the disk while both sides store to it.

use os::{Setup, User};

use crate::{Budget, Parameter, Params, Reproducer, Verdict};

const STORY: &str = "\
A process forks, then writes a shared page to a file with O_DIRECT: the pin needs no write access, so \
the page stays shared. A thread of the parent stores and is given a copy; now the child alone maps \
the page, and its store goes straight into what the disk reads. linux-mm, 2009-03-14. A lock around \
fork cannot help, since the fork is long over. Reduced: one page, one sector, no time.";

const PAGE: u64 = 4096;
const FILE: &str = "disk";

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
        ]
    }

    fn cpus(&self) -> u16 {
        3
    }

    // Where a bound of 3 is said, no search has come to its end yet: a sample without time stands
    // in for it (`tests/direct_io.rs`).
    fn verdicts(&self) -> &'static [Verdict] {
        const LOCKLESS: &[Budget] = &[Budget::at_least("fast pins", 1)];
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
                Verdict::of("B23", "REV").bounded(3).fixes(&["B23"]),
                Verdict::of("B24.kept", "REV").bounded(3).fixes(&["B24"]),
                Verdict::of("B23.lockless", "COST")
                    .bounded(1)
                    .fixes(&["B23"])
                    .budgets(LOCKLESS)
                    .set(&[("fork", 0)]),
                Verdict::of("B24", "COST")
                    .bounded(1)
                    .fixes(&["B24"])
                    .set(&[("fork", 0)])
                    .words(&["COST"])
                    .budgets(LOCKLESS),
                Verdict::of("B18.reverse", "REV").bounded(3).fixes(&["B18"]),
                Verdict::of("U10", "REV").bounded(3).fixes(&["U10"]),
                Verdict::of("U11", "REV")
                    .bounded(3)
                    .kernel("v2.6.29")
                    .fixes(&["cow-only-reference"]),
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
        setup.file(FILE, 512, 0);
        let process = setup.empty_process("dio-rev");
        setup.keep_memory(process);
        let page = setup.map(process, PAGE);
        setup.fill(process, page, PAGE, 0x11);
        setup.thread(process, "writer", 0, move |user: User<'w>| async move {
            if forks {
                let child = user.fork(move |user| async move {
                    user.store_u32(page, 0xffff_ffff).await;
                    0
                });
                child.await.expect("memory is free");
            }
            let file = user.open(FILE).await.expect("prepared");
            if pin == 0 {
                user.pwrite(file, page, 512, 0).await.expect("mapped");
            } else {
                let region = user.register(page, 512, false).await.expect("mapped");
                let moved = user.device_read(region, file, page, 512, 0).await;
                moved.expect("registered");
                user.unregister(region).await.expect("registered");
            }
        });
        if !forks {
            return;
        }
        setup.thread(process, "storer", 1, move |user: User<'w>| async move {
            user.store_u32(page, 0x2222_2222).await;
        });
    }
}
