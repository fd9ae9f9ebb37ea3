//! `lost-update`: two threads, five load-store pairs each: the plainest race.

use os::{Setup, User};

use crate::{Params, Reproducer, Verdict};

/// See the module.
pub struct LostUpdate;

const PAIRS: u32 = 5;

impl Reproducer for LostUpdate {
    fn name(&self) -> &'static str {
        "lost-update"
    }

    fn about(&self) -> &'static str {
        "two threads add one to a counter, five times each, by a load and a store"
    }

    fn story(&self) -> &'static str {
        "Two threads increment a shared counter with a load and a separate store. When both load \
         before either stores, one increment is lost. It is here because everybody knows it: a \
         chooser that does not find it finds nothing."
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    fn memory_mib(&self, _params: &Params) -> u64 {
        1
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[Verdict::of("lost-update", "")
                .kernel("v2.6.18")
                .words(&["CHECK"])
                .sampled(100)]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, _params: &Params) {
        let process = setup.empty_process("lost-update");
        let counter = setup.map(process, 4096);
        setup.keep_memory(process);
        for cpu in 0..2 {
            let name = ["adder-0", "adder-1"][usize::from(cpu)];
            setup.thread(process, name, cpu, move |user: User<'w>| async move {
                for _ in 0..PAIRS {
                    let value = user.load_u32(counter).await;
                    user.store_u32(counter, value + 1).await;
                }
                user.spin().await;
            });
        }
        setup.at_end(move |kernel| {
            let bytes = kernel
                .peek(process, counter, 4)
                .expect("the counter is mapped");
            if bytes != (2 * PAIRS).to_le_bytes() {
                kernel.check_failed(format!(
                    "the counter is {} after {} increments",
                    u32::from_le_bytes(bytes.try_into().expect("four bytes")),
                    2 * PAIRS
                ));
            }
        });
    }
}
