//! `huge-file`: fork copies a pinned huge page of a private file mapping; a store elsewhere follows.

use os::{Setup, User};

use crate::{Params, Reproducer, Verdict};

const STORY: &str = "\
A process maps a file of huge pages privately, twice. It stores to the first mapping, which gives it a \
copy, registers a part of it with a device, and forks: the page is pinned, so fork makes the child's \
copy at once. On the way it looks the file's own page up and locks it, and forgets it. A store to the \
second mapping then waits for the lock of the file's page, which nobody will release. linux-mm, \
2009-03-16, read off the posted patch. Reduced: one huge page, copied in two parts.";

/// See the module.
pub struct HugeFile;

impl Reproducer for HugeFile {
    fn name(&self) -> &'static str {
        "huge-file"
    }

    fn about(&self) -> &'static str {
        "fork copies a pinned huge page of a file, and a store to the file's own page follows"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn kernel(&self) -> &'static str {
        "v2.6.29"
    }

    fn cpus(&self, _: &Params) -> u16 {
        1
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("B26.lock", "CTX")
                    .exhaustive()
                    .fixes(&["B26.lock"])
                    .words(&["DEADLOCK", "INVERT"])
                    .note("whoever keeps a lock for good has it when it takes the next"),
                Verdict::of("B02.huge-file", "CTX")
                    .exhaustive()
                    .fixes(&["B02.huge"])
                    .note("fork copies the page and has no business with the file's")
                    .guards(&[("huge-fork-keeps-lock", &["DEADLOCK", "INVERT"])]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, _params: &Params) {
        setup.huge_pool(5, 2);
        setup.huge_file();
        let process = setup.empty_process("huge-file");
        setup.keep_memory(process);
        let page = setup.map_huge_file(process);
        let other = setup.map_huge_file(process);
        setup.thread(process, "forker", 0, move |user: User<'w>| async move {
            user.store_u32(page, 1).await;
            let region = user.register(page, 512, true).await.expect("mapped");
            let child = user.fork(|_| async { 0 }).await;
            child.expect("the pool has pages");
            user.unregister(region).await.expect("registered");
            user.store_u32(other, 2).await;
        });
    }
}
