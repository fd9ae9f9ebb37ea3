//! `page-batch`: a new page waits in a CPU's batch, which has a reference to it, when fork or a
//! write fault counts. Nobody does I/O.

use os::{Setup, User};

use crate::verdict::Budget;
use crate::{Parameter, Params, Reproducer, Verdict};

/// See the module.
pub struct PageBatch;

const NO_COPY: &[Budget] = &[
    Budget::at_most("pages copied at fork", 0),
    Budget::at_most("copy-on-write breaks", 0),
];

impl Reproducer for PageBatch {
    fn name(&self) -> &'static str {
        "page-batch"
    }

    fn about(&self) -> &'static str {
        "a batch's reference to a new page looks like a pin: a copy that nobody needed"
    }

    fn story(&self) -> &'static str {
        "A new page waits in a batch of its CPU until the batch is full, and the batch has a \
         reference to it. A process stores to new memory, forks, waits until the child is gone, and \
         stores again. It never did any I/O: a fork that copies the page, or a second store that \
         does, has taken the batch for a pin. From the vendor bug 471613, comments 56 and 86."
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "batch",
            about: "pages that a batch takes before it is drained; 0: no batches",
            default: 14,
            min: 0,
            max: 64,
        }]
    }

    fn cpus(&self, _: &Params) -> u16 {
        1
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("page-batch", "COST")
                    .sampled(100)
                    .budgets(NO_COPY)
                    .guards(&[("fork-copies-foreign", &["COST"])]),
                Verdict::of("A14", "COST")
                    .sampled(100)
                    .fixes(&["A10"])
                    .words(&["COST"])
                    .budgets(NO_COPY),
                Verdict::of("A14.locked", "COST")
                    .sampled(100)
                    .fixes(&["A11"])
                    .words(&["COST"])
                    .budgets(NO_COPY),
                Verdict::of("A14.drained", "COST")
                    .sampled(100)
                    .fixes(&["A10"])
                    .set(&[("batch", 0)])
                    .budgets(NO_COPY),
                Verdict::of("A40.batch", "COST")
                    .sampled(100)
                    .fixes(&["A40"])
                    .budgets(NO_COPY)
                    .note("the mark is only on pages that were pinned once")
                    .guards(&[("fork-copies-foreign", &["COST"])]),
                Verdict::of("B35.batch", "COST")
                    .sampled(100)
                    .fixes(&["B35"])
                    .words(&["COST"])
                    .budgets(NO_COPY),
                Verdict::of("U11.batch", "COST")
                    .sampled(100)
                    .kernel("v2.6.29")
                    .fixes(&["cow-only-reference"])
                    .words(&["COST"])
                    .budgets(NO_COPY),
                Verdict::of("U17", "COST")
                    .sampled(100)
                    .kernel("v2.6.29")
                    .fixes(&["cow-only-reference", "cow-drain-first"])
                    .budgets(NO_COPY)
                    .guards(&[("batch-undrained", &["COST"])]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        setup.page_batches(params.get("batch") as usize);
        setup.process("page-batch", 0, main);
    }
}

async fn main(user: User<'_>) -> i32 {
    let Ok(page) = user.mmap(4096).await else {
        return 2;
    };
    user.store_u32(page, 1).await;
    if let Ok(child) = user.fork(|_| async { 0 }).await {
        let _ = user.wait(Some(child)).await;
    }
    user.store_u32(page, 2).await;
    0
}
