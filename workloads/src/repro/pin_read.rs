//! `pin-read`: memory that was never written is registered for a device to read; then it is.

use os::{Setup, User};

use crate::{Params, Reproducer, Verdict};

const STORY: &str = "\
A thread registers memory that it has only read so far with a device, which is to read it later. \
What is mapped there is the zero page, and so what is pinned. The thread stores, and is given a page \
of its own; the device, asked after that, reads zeros. Until 6.2 a pin for reading un-shared only \
anonymous pages, so pages of files in private mappings were as bad. Mainline, 2022. Reduced: one \
page, one sector, one thread; the zero page stands for pages of files.";

const PAGE: u64 = 4096;
const FILE: &str = "disk";

/// See the module.
pub struct PinRead;

impl Reproducer for PinRead {
    fn name(&self) -> &'static str {
        "pin-read"
    }

    fn about(&self) -> &'static str {
        "memory never written is registered for reading, then written: the device reads zeros"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn kernel(&self) -> &'static str {
        "v6.1"
    }

    fn cpus(&self, _: &Params) -> u16 {
        1
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("U21.without", "REV")
                    .exhaustive()
                    .words(&["CORRUPT"])
                    .note("the zero page; private mappings of files are not modelled"),
                Verdict::of("U21", "REV")
                    .guards(&[("unshares-none", &["CORRUPT"])])
                    .exhaustive()
                    .fixes(&["U21"]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, _: &Params) {
        setup.file(FILE, 512, 0xff);
        let process = setup.empty_process("pin-read");
        setup.keep_memory(process);
        setup.thread(process, "user", 0, |user: User<'w>| async move {
            let page = user.mmap(PAGE).await.expect("memory is free");
            let file = user.open(FILE).await.expect("prepared");
            let region = user.register(page, 512, false).await.expect("mapped");
            user.store_u32(page, 0x2222_2222).await;
            let moved = user.device_read(region, file, page, 512, 0).await;
            moved.expect("registered");
            user.unregister(region).await.expect("registered");
        });
    }
}
