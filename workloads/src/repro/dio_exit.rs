//! `dio-exit`: a process ends while its direct I/O is in flight, or before it has begun.

use os::{Setup, User};

use crate::{Parameter, Params, Reproducer, Verdict};

/// See the module.
pub struct DioExit;

const FILE: &str = "disk";

impl Reproducer for DioExit {
    fn name(&self) -> &'static str {
        "dio-exit"
    }

    fn about(&self) -> &'static str {
        "a process ends with an asynchronous read in flight, or is told to end as it reads"
    }

    fn story(&self) -> &'static str {
        "Who keeps something of the address space for the time of the I/O gives it back where the \
         I/O ends: in the disk's interrupt, where nothing may sleep. If the process has ended by \
         then, that is the last reference, and the teardown sleeps. With `killed` another thread \
         ends the process while this one begins to read: a signal is pending, and a wait that it \
         interrupts must be noticed. linux-mm, 2009-03-16. Reduced: one page, one sector."
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "killed",
            about: "1: another thread ends the process while this one reads synchronously",
            default: 0,
            min: 0,
            max: 1,
        }]
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("dio-exit", "CTX")
                    .exhaustive()
                    .fixes(&["A01"])
                    .guards(&[("dio-ranges", &["ATOMIC"])]),
                Verdict::of("A34", "CTX")
                    .exhaustive()
                    .fixes(&["A30"])
                    .words(&["ATOMIC"]),
                Verdict::of("A35", "CTX")
                    .exhaustive()
                    .fixes(&["A35"])
                    .set(&[("killed", 1)])
                    .words(&["BUG"]),
                Verdict::of("A35.noticed", "CTX")
                    .exhaustive()
                    .fixes(&["A30"])
                    .set(&[("killed", 1)])
                    .guards(&[("dio-ranges-ignore-signal", &["BUG"])]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        setup.file(FILE, 512, 0xdd);
        let process = setup.empty_process("dio-exit");
        let page = setup.map(process, 4096);
        let killed = params.get("killed") == 1;
        setup.thread(process, "reader", 1, move |user: User<'w>| async move {
            let file = user.open(FILE).await.expect("prepared");
            if killed {
                let _ = user.pread(file, page, 512, 0).await;
            } else {
                let _ = user.aio_read(file, page, 512, 0).await;
            }
        });
        if killed {
            setup.thread(process, "killer", 0, |user: User<'w>| async move {
                user.exit(0).await;
            });
        }
    }
}
