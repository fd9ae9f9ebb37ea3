//! Each of the oracles that need no data fires in a test of its own, and not in its counterpart.

use emu::{Costs, LockClass, Mode, Size, Stop};
use os::page::{Holder, get_page, put_page};
use os::{Config, Kernel, User};

static OUTER: LockClass = LockClass {
    name: "outer",
    sleeps: true,
};
static SPIN: LockClass = LockClass {
    name: "spin",
    sleeps: false,
};

fn kernel<'w>(cpus: u16) -> Kernel<'w> {
    Kernel::new(Config {
        costs: Costs::preset("skylake-2s").expect("compiled in"),
        size: Size {
            cpus,
            frames: 1024,
            store_buffers: false,
        },
        patches: Vec::new(),
        flush: os::flush::ALL[0],
    })
}

fn found(kernel: &Kernel<'_>) -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<_> = kernel
        .machine
        .violations()
        .iter()
        .map(|it| (it.oracle, it.word))
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Two threads take two locks, the second one `late`r, in the same order or in opposite ones.
fn two_locks(opposite: bool, apart: bool) -> (Stop, Vec<(&'static str, &'static str)>) {
    let kernel = kernel(2);
    kernel.prepare(|setup| {
        let process = setup.empty_process("locks");
        setup.keep_memory(process);
        let locks = [(); 2].map(|()| kernel.machine.new_lock(&OUTER));
        for thread in 0..2 {
            let kernel = &kernel;
            let order = if opposite && thread == 1 {
                [1, 0]
            } else {
                [0, 1]
            };
            setup.thread(process, "taker", thread, move |user: User<'_>| async move {
                if apart {
                    user.sleep_us(1 + 1000 * u64::from(thread)).await;
                }
                for at in order {
                    os::lock::lock_sleeping(kernel, locks[at], Mode::Exclusive, "test").await;
                    user.sleep_us(10).await;
                }
                let me = kernel.machine.context();
                for at in order.into_iter().rev() {
                    os::lock::unlock_sleeping(kernel, locks[at], Mode::Exclusive, me).await;
                }
            });
        }
    });
    let stop = kernel.run(1);
    let all = found(&kernel);
    (stop, all)
}

#[test]
fn lock_order_fires_on_an_inversion_that_did_not_deadlock() {
    let (stop, all) = two_locks(true, true);
    assert_eq!(stop, Stop::Finished);
    assert_eq!(all, [("lock-order", "INVERT")]);
    assert_eq!(two_locks(false, true), (Stop::Finished, Vec::new()));
}

#[test]
fn wait_graph_fires_when_two_wait_for_each_other() {
    let (stop, all) = two_locks(true, false);
    assert!(
        matches!(stop, Stop::Deadlock(ref who) if who.len() == 2),
        "{stop:?}"
    );
    assert!(all.contains(&("wait-graph", "DEADLOCK")), "{all:?}");
    assert_eq!(two_locks(false, false), (Stop::Finished, Vec::new()));
}

/// What `body` makes the oracles of an idle kernel say.
fn alone(body: impl for<'w> Fn(&'w Kernel<'w>)) -> Vec<(&'static str, &'static str)> {
    let kernel = kernel(1);
    kernel.prepare(|_| {});
    kernel.begin(1);
    body(&kernel);
    found(&kernel)
}

#[test]
fn assertion_fires_when_a_kernel_assertion_fails() {
    let all = alone(|kernel| {
        kernel.bug_on(false, || unreachable!("it holds"));
        assert_eq!(found(kernel), []);
        kernel.bug_on(true, || "a page is locked twice".to_string());
    });
    assert_eq!(all, [("assertion", "BUG")]);
}

#[test]
fn check_fires_when_the_program_says_so() {
    let all = alone(|kernel| {
        kernel.check_failed("two and two is five".to_string());
    });
    assert_eq!(all, [("check", "CHECK")]);
}

/// A thread sleeps on a lock, with a spinlock held or without.
fn sleep_with(spinlock: bool) -> Vec<(&'static str, &'static str)> {
    let kernel = kernel(1);
    kernel.prepare(|setup| {
        let process = setup.empty_process("sleeper");
        setup.keep_memory(process);
        let (outer, spin) = (
            kernel.machine.new_lock(&OUTER),
            kernel.machine.new_lock(&SPIN),
        );
        let kernel = &kernel;
        setup.thread(process, "sleeper", 0, move |_: User<'_>| async move {
            let guard = kernel.machine.spin_lock(spin).await;
            let guard = if spinlock {
                Some(guard)
            } else {
                guard.unlock().await;
                None
            };
            os::lock::lock_sleeping(kernel, outer, Mode::Exclusive, "test").await;
            let me = kernel.machine.context();
            os::lock::unlock_sleeping(kernel, outer, Mode::Exclusive, me).await;
            if let Some(guard) = guard {
                guard.unlock().await;
            }
        });
    });
    kernel.run(1);
    found(&kernel)
}

#[test]
fn context_fires_when_a_task_may_sleep_with_a_spinlock_held() {
    assert_eq!(sleep_with(true), [("context", "ATOMIC")]);
    assert_eq!(sleep_with(false), []);
}

/// A thread takes `gets` references to a page of its own and gives `puts` back.
fn references(gets: u32, puts: u32) -> Vec<(&'static str, &'static str)> {
    let kernel = kernel(1);
    kernel.prepare(|setup| {
        let process = setup.empty_process("holder");
        setup.keep_memory(process);
        let at = setup.map(process, 4096);
        let kernel = &kernel;
        setup.thread(process, "holder", 0, move |_: User<'_>| async move {
            let root = kernel.mm(kernel.current_mm()).root;
            let found = mmu::walk::lookup(&kernel.machine.memory(), root, at);
            let pfn = found.expect("mapped").1.pfn();
            for _ in 0..gets {
                get_page(kernel, pfn, Holder::Hand).await;
            }
            for _ in 0..puts {
                put_page(kernel, pfn, Holder::Hand).await;
            }
        });
    });
    kernel.run(1);
    found(&kernel)
}

#[test]
fn reference_balance_fires_on_a_leak_and_on_a_surplus_release() {
    assert_eq!(references(2, 2), []);
    assert_eq!(references(2, 1), [("reference-balance", "LEAK")]);
    assert_eq!(references(1, 2), [("reference-balance", "BUG")]);
}

/// Reclaim takes a page away, then `after` runs on the entry that it left.
fn swapped_out(
    after: impl for<'w> AsyncFn(&'w Kernel<'w>, os::MmId, mmu::VirtAddr),
) -> Vec<(&'static str, &'static str)> {
    let kernel = kernel(1);
    kernel.prepare(|setup| {
        setup.swap_area(2);
        let process = setup.empty_process("owner");
        setup.keep_memory(process);
        let at = setup.map(process, 4096);
        let frame = setup.age(process, at, 4096)[0];
        let (kernel, after) = (&kernel, &after);
        setup.thread(process, "owner", 0, move |user: User<'_>| async move {
            assert_eq!(
                os::vmscan::shrink_page(kernel, frame).await,
                os::vmscan::Scan::Reclaimed
            );
            after(kernel, kernel.current_mm(), at).await;
            // Not there any more, or not what it was.
            if kernel.machine.violations().is_empty() {
                assert_eq!(user.load_u32(at).await, 0);
            }
        });
    });
    kernel.run(1);
    found(&kernel)
}

async fn entry<'w>(kernel: &'w Kernel<'w>, mm: os::MmId, at: mmu::VirtAddr) -> mmu::PhysAddr {
    let found = os::mm::find_entry(kernel, mm, at).await;
    found.expect("its table is there")
}

#[test]
fn entry_ownership_fires_on_a_permission_in_a_swap_entry() {
    assert_eq!(swapped_out(async |_, _, _| ()), []);
    let all = swapped_out(async |kernel, mm, at| {
        let pte = entry(kernel, mm, at).await;
        let writable = |pte: mmu::Pte| pte.with(mmu::PteFlags::W);
        os::mm::update_pte(kernel, mm, at, pte, writable).await;
    });
    assert!(all.contains(&("entry-ownership", "SWAPENT")), "{all:?}");
}

#[test]
fn entry_ownership_fires_on_a_slot_that_is_freed_too_early() {
    let all = swapped_out(async |kernel, mm, at| {
        let pte = entry(kernel, mm, at).await;
        let pte = os::mm::read_pte(kernel, pte).await;
        let slot = os::swap::pte_to_swp_entry(kernel, pte).expect("it was swapped out");
        os::swap::swap_free(kernel, slot).await;
        os::swap::swap_duplicate(kernel, slot).await;
    });
    assert_eq!(all, [("entry-ownership", "SWAPENT")]);
}
