//! `forkscrew`: the scripted reproducer of the 2008 direct-I/O bug (row A06).

use mmu::VirtAddr;
use os::{Advice, Errno, Setup, User};

use crate::pthread::{Mutex, Thread, Turn, Words};
use crate::{DONTFORK, Parameter, Params, Reproducer, SMALL, Verdict, dump};

const STORY: &str = "\
A thread reads a file with O_DIRECT into a buffer that is not page-aligned, so that its last page
also holds the beginning of another thread's buffer. While the disk works, a third thread forks:
every page becomes read-only and shared. The second thread's read pins its first page, which needs
write access, so copy-on-write gives the parent a new page - and the disk goes on writing into the
old one, which is now the child's alone. The parent never sees those bytes: data loss without an
error. Nothing that the three threads do is forbidden; each reads into memory of its own.

In its small form each read has one sector: the last of the first read, the first of the second, side
by side in one page. The threads are there from the beginning and poll for their turns, and the child
sleeps on, as the one second of the original means it to.

Source: Red Hat bug 471613 (2008), comment 65; program text in a linux-mm message of 2009-03-16.";

/// See the module.
pub struct Forkscrew;

impl Reproducer for Forkscrew {
    fn name(&self) -> &'static str {
        "forkscrew"
    }

    fn about(&self) -> &'static str {
        "three threads, two direct reads and a fork between them: the first read loses 512 bytes"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            DONTFORK,
            Parameter {
                about: "1: reads of one sector, threads that poll for their turns, a child that sleeps on",
                ..SMALL
            },
        ]
    }

    fn cpus(&self, params: &Params) -> u16 {
        if params.get(SMALL.name) == 1 { 3 } else { 4 }
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const LOST: &[&str] = &["CHECK", "CORRUPT"];
        const {
            &[
                Verdict::of("A06", "FWD").kernel("v2.6.18").words(LOST),
                Verdict::of("A41", "FWD")
                    .bounded(2)
                    .fixes(&["A41"])
                    .guards(&[("no-pin-mark", &["CHECK", "CORRUPT"])]),
                Verdict::of("A07", "FWD")
                    .fixes(&["A41"])
                    .note("the child dumps what was there before the reads")
                    .guards(&[("no-pin-mark", &["CHECK", "CORRUPT"])]),
                Verdict::of("A07.waits", "FWD")
                    .fixes(&["B50"])
                    .note("fork waits for the first read; the child dumps its bytes")
                    .guards(&[("fork-sem-to-submit", &["CHECK", "CORRUPT"])]),
                Verdict::of("A07.async", "FWD")
                    .fixes(&["B31"])
                    .words(LOST)
                    .note("fork waits for the call, and an asynchronous one returns at once"),
                Verdict::of("A52", "FAST").fixes(&["A52"]).words(LOST),
                Verdict::of("B02", "FAST")
                    .bounded(2)
                    .fixes(&["B02"])
                    .guards(&[("fork-copies-none", &["CHECK", "CORRUPT"])]),
                Verdict::of("B10", "FWD")
                    .bounded(2)
                    .fixes(&["B10"])
                    .guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("U01", "FWD")
                    .bounded(2)
                    .kernel("v2.6.29")
                    .set(&[("dontfork", 1)])
                    .note("the child has no buffer to dump")
                    .guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("v5.19", "FWD").kernel("v5.19").words(LOST),
                Verdict::of("v6.1", "FWD").kernel("v6.1").words(LOST),
                Verdict::of("v6.5", "FWD")
                    .bounded(2)
                    .guards(&[("shares-untested", &["CHECK", "CORRUPT"])])
                    .kernel("v6.5"),
                Verdict::of("U28.build-133", "FWD")
                    .bounded(2)
                    .guards(&[("fork-copies-none", &["CHECK", "CORRUPT"])])
                    .kernel("build-133"),
                Verdict::of("U28.build-146", "FWD")
                    .bounded(2)
                    .guards(&[("fork-copies-none", &["CHECK", "CORRUPT"])])
                    .kernel("build-146"),
                Verdict::of("U28.build-146-lockless", "FAST")
                    .kernel("build-146")
                    .fixes(&["fast-gup"])
                    .words(LOST)
                    .note("the lockless pin as it was taken over: row A52"),
                Verdict::of("U28.build-147", "FAST")
                    .bounded(2)
                    .guards(&[("fork-copies-none", &["CHECK", "CORRUPT"])])
                    .kernel("build-147"),
                Verdict::of("U28.build-148", "FAST")
                    .kernel("build-148")
                    .words(LOST),
                Verdict::of("U28.build-149", "FAST")
                    .bounded(2)
                    .guards(&[("fork-copies-none", &["CHECK", "CORRUPT"])])
                    .kernel("build-149"),
                Verdict::of("U28.build-159", "FAST")
                    .kernel("build-159")
                    .words(LOST)
                    .note("shipped, and the report closed"),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let dontfork = params.get("dontfork") == 1;
        setup.file("data", 3 * PAGE, 0);
        if params.get(SMALL.name) == 1 {
            return prepare_small(setup, dontfork);
        }
        setup.process("forkscrew", 0, move |user| main(user, dontfork));
    }
}

const PAGE: u64 = 4096;
const SECTOR: u64 = 512;
const ALIGN: u64 = SECTOR;

/// Turns, in the order in which they come.
const FORK: u32 = 1;
const FORKED: u32 = 2;
const SECOND_READ: u32 = 3;

#[derive(Clone, Copy)]
struct Shared {
    buffer: VirtAddr,
    turn: Turn,
    print: Mutex,
    failed: VirtAddr,
}

async fn main(user: User<'_>, dontfork: bool) -> i32 {
    let Ok(mut words) = Words::new(user).await else {
        return 2;
    };
    let Ok(buffer) = user.mmap(3 * PAGE).await else {
        return 2;
    };
    user.fill(buffer, 3 * PAGE, 42).await;
    if dontfork
        && user
            .madvise(buffer, 3 * PAGE, Advice::DontFork)
            .await
            .is_err()
    {
        return 2;
    }
    let shared = Shared {
        buffer,
        turn: Turn::new(&mut words),
        print: Mutex::new(&mut words),
        failed: words.word(),
    };
    let mut threads = Vec::new();
    for (name, word) in [
        ("worker-0", words.word()),
        ("worker-1", words.word()),
        ("forker", words.word()),
    ] {
        let thread = match name {
            "worker-0" => Thread::spawn(user, word, name, |user| worker_0(user, shared)).await,
            "worker-1" => Thread::spawn(user, word, name, |user| worker_1(user, shared)).await,
            _ => Thread::spawn(user, word, name, |user| forker(user, shared)).await,
        };
        let Ok(thread) = thread else { return 2 };
        threads.push(thread);
    }
    for thread in threads {
        thread.join(user).await;
    }
    if user.load_u32(shared.failed).await == 0 {
        return 0;
    }
    user.print("parent dumping full buffer\n".to_string()).await;
    dump::print(user, buffer + ALIGN, 2 * PAGE as usize).await;
    1
}

/// Submits its read, lets the forker fork, lets the other worker read, then waits for its own.
async fn worker_0(user: User<'_>, shared: Shared) {
    let fd = user.open("data").await.expect("the file was prepared");
    let at = shared.buffer + ALIGN;
    let read = user.aio_read(fd, at, PAGE, 0).await;
    shared.turn.give(user, FORK).await;
    shared.turn.wait(user, FORKED).await;
    shared.turn.give(user, SECOND_READ).await;
    let got = match read {
        Ok(id) => user.aio_wait(id).await,
        Err(error) => Err(error),
    };
    check(user, shared, 0, at, got == Ok(PAGE)).await;
}

/// One blocking read, after the fork.
async fn worker_1(user: User<'_>, shared: Shared) {
    let fd = user.open("data").await.expect("the file was prepared");
    let at = shared.buffer + ALIGN + PAGE;
    shared.turn.wait(user, SECOND_READ).await;
    let got = user.pread(fd, at, PAGE, PAGE).await;
    check(user, shared, 1, at, got == Ok(PAGE)).await;
}

/// A byte that is still 42 was never read.
async fn check(user: User<'_>, shared: Shared, worker: u32, at: VirtAddr, complete: bool) {
    let bad = user.find_mismatch(at, PAGE, 0).await;
    if bad.is_none() && complete {
        return;
    }
    shared.print.lock(user).await;
    user.store_u32(shared.failed, 1).await;
    user.check_failed(format!(
        "worker {worker} read 4096 bytes of zeros, and byte {} of its buffer is not zero",
        bad.unwrap_or(0)
    ));
    user.print(format!("worker {worker} failed check\n")).await;
    dump::print(user, at, PAGE as usize).await;
    shared.print.unlock(user).await;
}

async fn forker(user: User<'_>, shared: Shared) {
    shared.turn.wait(user, FORK).await;
    let child = user
        .fork(|user| async move {
            user.sleep_us(1_000_000).await;
            user.print("child dumping buffer:\n".to_string()).await;
            dump::print(user, shared.buffer + ALIGN, 2 * PAGE as usize).await;
            0
        })
        .await;
    shared.turn.give(user, FORKED).await;
    if let Ok(pid) = child {
        let _ = user.wait(Some(pid)).await;
    }
}

/// The first read's last sector begins the page in which the second read begins.
fn prepare_small(setup: &mut Setup<'_>, dontfork: bool) {
    let process = setup.empty_process("forkscrew");
    setup.keep_memory(process);
    let buffer = setup.map(process, 2 * PAGE);
    setup.fill(process, buffer, 2 * PAGE, 42);
    let (first, second) = (buffer + PAGE, buffer + PAGE + ALIGN);
    setup.thread(process, "worker-0", 0, move |user| async move {
        if dontfork {
            let left_out = user.madvise(buffer, 2 * PAGE, Advice::DontFork).await;
            left_out.expect("mapped");
        }
        let fd = user.open("data").await.expect("the file was prepared");
        let read = user.aio_read(fd, first, SECTOR, PAGE - SECTOR).await;
        user.signal_event(FORK).await;
        let got = match read {
            Ok(id) => user.aio_poll(id).await,
            Err(error) => Err(error),
        };
        check_sector(user, 0, first, got).await;
        user.spin().await;
    });
    setup.thread(process, "worker-1", 1, move |user| async move {
        let fd = user.open("data").await.expect("the file was prepared");
        user.poll_event(SECOND_READ).await;
        let got = user.pread(fd, second, SECTOR, PAGE).await;
        check_sector(user, 1, second, got).await;
        user.spin().await;
    });
    setup.thread(process, "forker", 2, |user| async move {
        user.poll_event(FORK).await;
        let _ = user.fork_stopped().await;
        user.signal_event(SECOND_READ).await;
        user.spin().await;
    });
}

async fn check_sector(user: User<'_>, worker: u32, at: VirtAddr, got: Result<u64, Errno>) {
    let bad = user.find_mismatch(at, SECTOR, 0).await;
    if bad.is_some() || got != Ok(SECTOR) {
        user.check_failed(format!(
            "worker {worker} read a sector of zeros, and has others"
        ));
    }
}
