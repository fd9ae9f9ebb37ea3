//! `fork-list`: a lock of user mode around a list, and a fork while it is held.

use mmu::VirtAddr;
use os::{Setup, User};

use crate::{Parameter, Params, Reproducer, Verdict};

/// See the module.
pub struct ForkList;

impl Reproducer for ForkList {
    fn name(&self) -> &'static str {
        "fork-list"
    }

    fn about(&self) -> &'static str {
        "a thread edits a list under a lock of user mode while another forks; the child walks it"
    }

    fn story(&self) -> &'static str {
        "In place of a change to the kernel a library took its own lock around fork, so that no \
         child would see its list of thread stacks half edited. Without that the child inherits a \
         lock whose holder it does not have. With it all is well until fork is called by a signal \
         handler that interrupted the holder. Red Hat bug 471613, comments 14 to 23. Reduced: a list \
         of two pointers, the lock is one word."
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "walk",
                about: "0: the child reads the list without the lock",
                default: 1,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "around",
                about: "1: fork is called with the lock held, and both sides release it",
                default: 0,
                min: 0,
                max: 1,
            },
            Parameter {
                name: "handler",
                about: "1: the editor itself forks in the middle, from a signal handler",
                default: 0,
                min: 0,
                max: 1,
            },
        ]
    }

    fn cpus(&self, _: &Params) -> u16 {
        2
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("A09", "SNAP").exhaustive().words(&["HANG"]),
                Verdict::of("A09.unlocked", "SNAP")
                    .exhaustive()
                    .set(&[("walk", 0)])
                    .words(&["CHECK"]),
                Verdict::of("A09.around", "SNAP")
                    .bounded(3)
                    .set(&[("around", 1)])
                    .guards(&[("fork-shares-writable", &["CORRUPT", "HANG"])]),
                Verdict::of("A09.handler", "SNAP")
                    .exhaustive()
                    .set(&[("around", 1), ("handler", 1)])
                    .words(&["HANG"]),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let process = setup.empty_process("fork-list");
        setup.keep_memory(process);
        let list = List(setup.map(process, 4096));
        let how = How {
            walk: params.get("walk") == 1,
            around: params.get("around") == 1,
        };
        let handler = params.get("handler") == 1;
        setup.thread(process, "editor", 0, move |user: User<'w>| async move {
            list.lock(user).await;
            user.store_u32(list.previous(), 1).await;
            if handler {
                fork(user, list, how).await;
            }
            user.store_u32(list.next(), 1).await;
            list.unlock(user).await;
        });
        if !handler {
            setup.thread(process, "forker", 1, move |user: User<'w>| async move {
                fork(user, list, how).await;
            });
        }
    }
}

#[derive(Clone, Copy)]
struct How {
    walk: bool,
    around: bool,
}

/// The lock's word, then the two pointers.
#[derive(Clone, Copy)]
struct List(VirtAddr);

impl List {
    fn previous(self) -> VirtAddr {
        self.0 + 4
    }

    fn next(self) -> VirtAddr {
        self.0 + 8
    }

    async fn lock(self, user: User<'_>) {
        while user.compare_exchange_u32(self.0, 0, 1).await.is_err() {
            let _ = user.futex_wait(self.0, 1).await;
        }
    }

    async fn unlock(self, user: User<'_>) {
        user.store_u32(self.0, 0).await;
        user.futex_wake(self.0, 1).await;
    }
}

async fn fork(user: User<'_>, list: List, how: How) {
    if how.around {
        list.lock(user).await;
    }
    let child = user.fork(move |user| child(user, list, how));
    child.await.expect("memory is free");
    if how.around {
        list.unlock(user).await;
    }
}

async fn child(user: User<'_>, list: List, how: How) -> i32 {
    if how.around {
        list.unlock(user).await;
    }
    if how.walk {
        list.lock(user).await;
    }
    let previous = user.load_u32(list.previous()).await;
    let next = user.load_u32(list.next()).await;
    if previous != next {
        user.check_failed(format!("the list is torn: {previous} before, {next} after"));
    }
    0
}
