//! `poke`: a debugger changes or looks at a page that its process shares with a child.

use os::{Setup, User};

use crate::{Budget, Parameter, Params, Reproducer, Verdict};

const STORY: &str = "\
A process makes a page read-only and forks. A debugger stores to the page of the parent, as one does \
to set a breakpoint: the lookup asks for write access that the mapping never grants, so it has to \
stop asking once copy-on-write is broken. The parent must see the new word and the child the old \
one. A debugger that only looks should break nothing. From the exception that 2.6.29 makes for \
forced access (ab967d86015a), and linux-mm, 2009-03-30, on lookups that only peek. Reduced: one page.";

const PAGE: u64 = 4096;
const OLD: u32 = 0x1111_1111;
const NEW: u32 = 0xcccc_cccc;
/// The page is shared.
const SHARED: u32 = 0;
/// The debugger is done.
const DONE: u32 = 1;

/// See the module.
pub struct Poke;

impl Reproducer for Poke {
    fn name(&self) -> &'static str {
        "poke"
    }

    fn about(&self) -> &'static str {
        "a debugger stores to, or looks at, a read-only page that parent and child share"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter {
            name: "peek",
            about: "1: the debugger only looks, and the page may be written",
            default: 0,
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
        const PEEK: &[(&str, u64)] = &[("peek", 1)];
        const NO_COPY: &[Budget] = &[Budget::at_most("copy-on-write breaks", 0)];
        const {
            &[
                Verdict::of("poke", "FWD").bounded(3),
                Verdict::of("A40.forced", "FWD").bounded(3).fixes(&["A40"]),
                Verdict::of("B52.peek", "COST")
                    .bounded(3)
                    .fixes(&["B52"])
                    .set(PEEK)
                    .budgets(NO_COPY),
                Verdict::of("U10.peek", "COST")
                    .bounded(3)
                    .fixes(&["U10"])
                    .set(PEEK)
                    .words(&["COST"])
                    .budgets(NO_COPY)
                    .note("every lookup breaks copy-on-write, that of a debugger too"),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let peeks = params.get("peek") == 1;
        let process = setup.empty_process("tracee");
        setup.keep_memory(process);
        let page = setup.map(process, PAGE);
        setup.fill(process, page, PAGE, 0x11);
        setup.thread(process, "tracee", 0, move |user: User<'w>| async move {
            if !peeks {
                user.mprotect(page, PAGE, false).await.expect("mapped");
            }
            let child = user.fork(move |user| async move {
                if user.load_u32(page).await != OLD {
                    user.check_failed("the child sees what the debugger stored".to_string());
                }
                user.spin().await;
                0
            });
            child.await.expect("memory is free");
            user.signal_event(SHARED).await;
            user.poll_event(DONE).await;
            let expected = if peeks { OLD } else { NEW };
            if user.load_u32(page).await != expected {
                user.check_failed("what the debugger stored is lost".to_string());
            }
            user.spin().await;
        });
        let debugger = setup.empty_process("debugger");
        setup.keep_memory(debugger);
        setup.thread(debugger, "debugger", 1, move |user: User<'w>| async move {
            user.poll_event(SHARED).await;
            if peeks {
                let seen = user.peek(process, page).await;
                if seen != Ok(OLD) {
                    user.check_failed(format!("the debugger sees {seen:?}"));
                }
            } else {
                let done = user.poke(process, page, NEW).await;
                done.expect("the page is mapped");
            }
            user.signal_event(DONE).await;
            user.spin().await;
        });
    }
}
