//! Rows A44 and A45: a store to a write-protected page while somebody holds the page lock.

use emu::{Costs, Size, Stop};
use mmu::Pfn;
use os::lock::{lock_page, unlock_page};
use os::page::{Holder, get_page, put_page};
use os::{Config, Kernel, Patch, User, fixes};

/// The frame behind the page before the store and after it.
fn store_while_locked(patches: Vec<&'static dyn Patch>) -> (Pfn, Pfn) {
    let kernel = Kernel::new(Config {
        costs: Costs::preset("skylake-2s").expect("compiled in"),
        size: Size {
            cpus: 2,
            frames: 1024,
        },
        patches,
        flush: os::flush::ALL[0],
    });
    let mut prepared = None;
    let frame = |kernel: &Kernel<'_>, at| {
        let mms = kernel.mms.borrow();
        let root = mms.values().next().expect("kept").root;
        let found = mmu::walk::lookup(&kernel.machine.memory(), root, at);
        found.expect("mapped").1.pfn()
    };
    kernel.prepare(|setup| {
        let process = setup.empty_process("takeover");
        setup.keep_memory(process);
        let at = setup.map(process, 4096);
        prepared = Some((at, frame(&kernel, at)));
        let (kernel, pfn) = (&kernel, frame(&kernel, at));
        // Reclaim's second scan, as far as the fault can tell: it holds the lock for a moment.
        setup.thread(process, "locker", 0, move |user: User<'_>| async move {
            get_page(kernel, pfn, Holder::Hand).await;
            lock_page(kernel, pfn).await;
            user.sleep_us(1000).await;
            unlock_page(kernel, pfn).await;
            put_page(kernel, pfn, Holder::Hand).await;
        });
        setup.thread(process, "storer", 1, move |user: User<'_>| async move {
            user.sleep_us(100).await;
            user.mprotect(at, 4096, false).await.expect("mapped");
            user.mprotect(at, 4096, true).await.expect("mapped");
            user.store_u32(at, 1).await;
        });
    });
    let (at, before) = prepared.expect("prepared");
    assert_eq!(kernel.run(1), Stop::Finished);
    assert_eq!(*kernel.machine.violations(), []);
    (before, frame(&kernel, at))
}

#[test]
fn a_busy_page_lock_replaces_the_page_on_v2_6_18() {
    let (before, after) = store_while_locked(Vec::new());
    assert_ne!(before, after);
}

#[test]
fn waiting_for_the_page_lock_keeps_the_page() {
    let patch = fixes::patch("wait-for-page-lock").expect("listed");
    let (before, after) = store_while_locked(vec![patch]);
    assert_eq!(before, after);
}
