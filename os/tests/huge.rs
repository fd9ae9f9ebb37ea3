//! Huge pages: first touch, copy-on-write over fork, pins, and what the oracles see of them.

use emu::{Costs, Size, Stop};
use os::{Config, Errno, Kernel, Patch, User, fixes, flush};

const HUGE: u64 = mmu::LARGE_PAGE_SIZE as u64;

fn kernel<'w>(patches: &[&str], flush: &str) -> Kernel<'w> {
    let patch = |name: &&str| -> &'static dyn Patch { fixes::patch(name).expect("listed") };
    let flush = flush::ALL.iter().find(|it| it.name() == flush);
    Kernel::new(Config {
        costs: Costs::preset("skylake-2s").expect("compiled in"),
        size: Size {
            cpus: 2,
            frames: 4096,
            store_buffers: false,
        },
        patches: patches.iter().map(patch).collect(),
        flush: *flush.expect("listed"),
    })
}

#[test]
fn a_child_keeps_the_huge_page_it_had_at_fork_and_all_comes_back_at_exit() {
    let kernel = kernel(&[], "linux-2.6.18");
    kernel.prepare(|setup| {
        setup.huge_pool(3, 4);
        setup.process("main", 0, |user: User<'_>| async move {
            let at = user.mmap_huge(HUGE).await.expect("the pool has pages");
            let last = at + (HUGE - 8);
            assert_eq!(user.load_u64(last).await, 0);
            user.store_u64(at, 1).await;
            user.store_u64(last, 2).await;
            let child = user.fork(move |child| async move {
                child.sleep_us(5000).await;
                let seen = (child.load_u64(at).await, child.load_u64(last).await);
                child.print(format!("child sees {seen:?}\n")).await;
                0
            });
            let pid = child.await.expect("fork");
            user.store_u64(last, 3).await;
            let _ = user.wait(Some(pid)).await;
            let seen = (user.load_u64(at).await, user.load_u64(last).await);
            user.print(format!("parent sees {seen:?}\n")).await;
            user.store_u64(at, 4).await;
            0
        });
    });
    for _ in 0..2 {
        assert_eq!(kernel.run(1), Stop::Finished);
        assert_eq!(*kernel.console(), "child sees (1, 2)\nparent sees (1, 3)\n");
        assert_eq!(*kernel.machine.violations(), []);
        assert_eq!(kernel.counters()["huge pages copied"], 1);
    }
}

#[test]
fn the_pool_runs_out_and_a_huge_page_is_removed_whole() {
    let kernel = kernel(&[], "linux-2.6.18");
    kernel.prepare(|setup| {
        setup.huge_pool(1, 1);
        setup.process("main", 0, |user: User<'_>| async move {
            let at = user.mmap_huge(HUGE).await.expect("address space");
            user.store_u32(at + 8192, 1).await;
            assert_eq!(user.munmap(at, 4096).await, Err(Errno::EINVAL));
            assert_eq!(
                user.mprotect(at + 4096, HUGE - 4096, false).await,
                Err(Errno::EINVAL)
            );
            user.mprotect(at, HUGE, false).await.expect("whole");
            user.mprotect(at, HUGE, true).await.expect("whole");
            user.store_u32(at, 1).await;
            user.munmap(at, HUGE).await.expect("whole");
            let again = user.mmap_huge(2 * HUGE).await.expect("address space");
            assert_eq!(user.load_u32(again + 8192).await, 0, "zeros again");
            user.store_u32(again + HUGE, 1).await;
            unreachable!("there is no second huge page");
        });
    });
    assert_eq!(kernel.run(1), Stop::Finished);
    assert_eq!(*kernel.machine.violations(), []);
    assert_ne!(kernel.exit_status(), Some(0));
}

/// Fork on one CPU while another has a writable translation of the huge page, and stores to its
/// far end afterwards.
fn words_of_a_store_after_fork(flush: &str) -> Vec<&'static str> {
    let kernel = kernel(&[], flush);
    kernel.prepare(|setup| {
        setup.huge_pool(2, 2);
        let process = setup.empty_process("main");
        let at = setup.map_huge(process, 1);
        setup.thread(process, "storer", 0, move |user: User<'_>| async move {
            // Awake all the time: a task switch would load the root anew.
            for round in 0..100 {
                user.store_u32(at + (HUGE - 4), round).await;
                user.compute(20_000).await;
            }
        });
        setup.thread(process, "forker", 1, move |user: User<'_>| async move {
            user.sleep_us(100).await;
            let child = user.fork(move |child| async move {
                child.sleep_us(2000).await;
                0
            });
            let pid = child.await.expect("fork");
            let _ = user.wait(Some(pid)).await;
        });
    });
    assert_eq!(kernel.run(1), Stop::Finished);
    let violations = kernel.machine.violations();
    violations.iter().map(|it| it.word).collect()
}

#[test]
fn a_translation_of_a_huge_page_that_fork_left_behind_is_stale_in_all_of_it() {
    assert_eq!(words_of_a_store_after_fork("linux-2.6.18"), [""; 0]);
    let words = words_of_a_store_after_fork("never");
    assert_eq!(words.first(), Some(&"STALETLB"), "{words:?}");
}

/// What pinning 64 pages of a huge page costs, twice: atomic operations and barriers.
fn cost_of_two_pins(patches: &[&str]) -> (u64, u64) {
    let kernel = kernel(patches, "linux-2.6.18");
    kernel.prepare(|setup| {
        setup.file("data", 64 * 4096, 7);
        setup.huge_pool(1, 2);
        let process = setup.empty_process("main");
        let at = setup.map_huge(process, 1);
        setup.thread(process, "reader", 0, move |user: User<'_>| async move {
            let file = user.open("data").await.expect("set up");
            for _ in 0..2 {
                let read = user.pread(file, at + 8192, 64 * 4096, 0).await;
                assert_eq!(read, Ok(64 * 4096));
            }
        });
    });
    assert_eq!(kernel.run(1), Stop::Finished);
    assert_eq!(*kernel.machine.violations(), []);
    let counters = kernel.counters();
    assert_eq!(counters["fast pins"], 128);
    let counter = |name| counters.get(name).copied().unwrap_or(0);
    (counter("huge pin atomics"), counter("huge pin barriers"))
}

/// Row B05.
#[test]
fn a_mark_for_each_page_loses_the_one_addition_for_all_pages_of_a_huge_page() {
    assert_eq!(cost_of_two_pins(&["fast-gup"]), (2, 0));
    let marking = ["fast-gup", "pg-gup", "pg-gup-fast", "pg-gup-recheck"];
    // 64 references each time; the mark is written once.
    assert_eq!(cost_of_two_pins(&marking), (64 + 1 + 64, 128));
}
