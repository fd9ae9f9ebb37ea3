//! `dio-crossed`: two reads into the same two pages, named in opposite orders.

use os::{Setup, User};

use crate::{Budget, Parameter, Params, Reproducer, Verdict};

/// See the module.
pub struct DioCrossed;

const PAGE: u64 = 4096;
const SECTOR: u64 = 512;
const FILE: &str = "disk";

impl Reproducer for DioCrossed {
    fn name(&self) -> &'static str {
        "dio-crossed"
    }

    fn about(&self) -> &'static str {
        "two threads read into two pages each, one in the order of addresses, the other against it"
    }

    fn story(&self) -> &'static str {
        "Two requests have two buffers each, in the same two pages but at different sectors: nothing \
         that two threads may not do. A kernel that locks each page when it pins it, and unlocks it \
         when the disk is done, has each request hold one page and wait for the other's. Derived \
         from Red Hat bug 471613, comments 79 to 86. Reduced: two pages, four sectors, no fork."
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "crossed",
            about: "0: both name the pages in the same order",
            default: 1,
            min: 0,
            max: 1,
        }]
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    // A bound is what is asked for; what its budget lets a search reach is said by `verdicts`.
    fn verdicts(&self) -> &'static [Verdict] {
        const NO_WAITS: &[Budget] = &[Budget::at_most("page guards waited for by direct I/O", 0)];
        const {
            &[
                Verdict::of("A21.crossed", "FWD")
                    .bounded(3)
                    .fixes(&["A21"])
                    .words(&["DEADLOCK", "INVERT"])
                    .note("the lock-order oracle sees the opposite orders before anybody waits"),
                Verdict::of("A21.ordered", "FWD")
                    .bounded(3)
                    .fixes(&["A21"])
                    .set(&[("crossed", 0)])
                    .words(&["INVERT"])
                    .note(
                        "addresses in order end the cycle of the pages; the second segment asks \
                         for mmap_sem with the first page locked, against the pin's own order",
                    ),
                Verdict::of("A21.cost", "FWD")
                    .bounded(3)
                    .fixes(&["A21"])
                    .set(&[("crossed", 0)])
                    .words(&["COST", "INVERT"])
                    .budgets(NO_WAITS)
                    .note("two requests on one page go one after the other"),
                Verdict::of("A20.cost", "FWD")
                    .bounded(3)
                    .fixes(&["A20"])
                    .set(&[("crossed", 0)])
                    .words(&["COST"])
                    .budgets(NO_WAITS)
                    .note("two requests on one page go one after the other"),
                Verdict::of("dio-crossed", "FWD")
                    .bounded(3)
                    .fixes(&["A01"])
                    .guards(&[("page-lock-over-io", &["DEADLOCK", "INVERT"])]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        setup.file(FILE, 2 * SECTOR, 0xdd);
        let process = setup.empty_process("dio-crossed");
        setup.keep_memory(process);
        let page = setup.map(process, 2 * PAGE);
        let (first, second) = (page, page + PAGE);
        let crossed = params.get("crossed") == 1;
        let other = if crossed {
            [(second + SECTOR, SECTOR), (first + SECTOR, SECTOR)]
        } else {
            [(first + SECTOR, SECTOR), (second + SECTOR, SECTOR)]
        };
        let one = [(first, SECTOR), (second, SECTOR)];
        for (cpu, name, segments) in [(0, "one", one), (1, "other", other)] {
            setup.thread(process, name, cpu, move |user: User<'w>| async move {
                let file = user.open(FILE).await.expect("prepared");
                user.preadv(file, &segments, 0).await.expect("mapped");
                user.spin().await;
            });
        }
    }
}
