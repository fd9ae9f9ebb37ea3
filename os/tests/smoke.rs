//! The kernel runs programs: the first end-to-end checks.

use emu::{Costs, Size, Stop};
use os::{Config, Kernel, User};

fn config(cpus: u16) -> Config {
    Config {
        costs: Costs::preset("skylake-2s").expect("compiled in"),
        size: Size {
            cpus,
            frames: 4096,
            store_buffers: false,
        },
        patches: Vec::new(),
        flush: os::flush::ALL[0],
    }
}

async fn fork_and_write(user: User<'_>) -> i32 {
    let at = user.mmap(8192).await.expect("mmap");
    user.store_u32(at, 1).await;
    let pid = user
        .fork(move |child| async move {
            child.sleep_us(100).await;
            let seen = child.load_u32(at).await;
            child.print(format!("child sees {seen}\n")).await;
            0
        })
        .await
        .expect("fork");
    user.store_u32(at, 2).await;
    let (ended, _) = user.wait(Some(pid)).await.expect("wait");
    assert_eq!(ended, pid);
    let seen = user.load_u32(at).await;
    user.print(format!("parent sees {seen}\n")).await;
    3
}

#[test]
fn a_child_keeps_what_it_had_at_fork() {
    let kernel = Kernel::new(config(2));
    kernel.prepare(|setup| {
        setup.process("main", 0, fork_and_write);
    });
    let mut digests = Vec::new();
    for _ in 0..2 {
        let stop = kernel.run(1);
        assert_eq!(stop, Stop::Finished);
        assert_eq!(*kernel.console(), "child sees 1\nparent sees 2\n");
        assert_eq!(kernel.exit_status(), Some(3));
        assert_eq!(*kernel.machine.violations(), []);
        digests.push(kernel.machine.digest());
    }
    assert_eq!(digests[0], digests[1], "a reset run is the same run");
}

#[test]
fn direct_io_reads_what_the_file_holds() {
    let kernel = Kernel::new(config(2));
    kernel.prepare(|setup| {
        setup.file("data", 65536, 7);
        setup.process("main", 0, |user: User<'_>| async move {
            let at = user.mmap(65536 + 4096).await.expect("mmap");
            user.fill(at, 65536 + 4096, 9).await;
            let fd = user.open("data").await.expect("open");
            let got = user.pread(fd, at + 512, 65536, 0).await;
            assert_eq!(got, Ok(65536));
            assert_eq!(user.find_mismatch(at + 512, 65536, 7).await, None);
            assert_eq!(user.find_mismatch(at, 512, 9).await, None);
            0
        });
    });
    let stop = kernel.run(1);
    assert_eq!(stop, Stop::Finished);
    assert_eq!(kernel.exit_status(), Some(0));
    assert_eq!(*kernel.machine.violations(), []);
}

#[test]
fn who_polls_goes_on_once_it_has_happened_and_not_before() {
    let kernel = Kernel::new(config(2));
    kernel.prepare(|setup| {
        setup.file("data", 4096, 7);
        let process = setup.empty_process("main");
        let at = setup.map(process, 4096);
        setup.fill(process, at, 4096, 9);
        setup.thread(process, "reader", 0, move |user: User<'_>| async move {
            let fd = user.open("data").await.expect("prepared");
            let read = user.aio_read(fd, at, 4096, 0).await.expect("mapped");
            assert_eq!(user.aio_poll(read).await, Ok(4096));
            user.signal_event(3).await;
        });
        setup.thread(process, "checker", 1, move |user: User<'_>| async move {
            user.poll_event(3).await;
            assert_eq!(user.find_mismatch(at, 4096, 7).await, None);
            user.print("polled".to_string()).await;
        });
    });
    for seed in 0..20 {
        assert_eq!(kernel.run(seed), Stop::Finished);
        assert_eq!(*kernel.console(), "polled");
        assert_eq!(*kernel.machine.violations(), []);
    }
}

#[test]
fn who_polls_for_what_never_happens_hangs_and_says_so() {
    let kernel = Kernel::new(config(1));
    kernel.prepare(|setup| {
        let process = setup.empty_process("main");
        setup.thread(process, "poller", 0, |user: User<'_>| user.poll_event(7));
    });
    let stop = kernel.run(1);
    assert!(matches!(stop, Stop::Deadlock(_)), "{stop:?}");
    let violations = kernel.machine.violations();
    assert_eq!(violations[0].word, "HANG");
    assert!(
        violations[0].message.contains("event 7"),
        "{}",
        violations[0].message
    );
}
