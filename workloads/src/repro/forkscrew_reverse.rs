//! `forkscrew-reverse`: fork first, then a direct write: the child's stores reach the parent's
//! file (row B21).

use os::{Advice, Setup, User};

use crate::pthread::{Mutex, Thread, Words};
use crate::{DONTFORK, Parameter, Params, Reproducer, Verdict};

const STORY: &str = "\
A process forks, then one of its threads writes the buffer to a file with O_DIRECT: a pin for
reading, which does not break copy-on-write. The parent stores to the buffer and gets copies; now
the child is the only one that maps the old pages, and its stores reuse them in place - while the
disk still reads them for the parent. The child's bytes end up in the parent's file. Aligned
buffers do not help. The failure needs the write to be still going on when the child stores, 50 ms
after the fork: 40 MiB keep the disk busy for half a second, small sizes do not fail.

Source: a linux-mm message of 2009-03-14.";

/// See the module.
pub struct ForkscrewReverse;

impl Reproducer for ForkscrewReverse {
    fn name(&self) -> &'static str {
        "forkscrew-reverse"
    }

    fn about(&self) -> &'static str {
        "fork, then a direct write: the child's stores reach the parent's file"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "size_kib",
                about: "size of the buffer and the file in KiB; small ones are written too soon to fail",
                default: 40 * 1024,
                min: 4,
                max: 1 << 20,
            },
            DONTFORK,
        ]
    }

    fn memory_mib(&self, params: &Params) -> u64 {
        32 + params.get("size_kib") * 3 / 1024
    }

    fn check(&self, params: &Params) -> Result<(), String> {
        let size = params.get("size_kib");
        if size.is_multiple_of(4) {
            Ok(())
        } else {
            Err(format!(
                "size_kib={size}: whole pages only, a multiple of 4"
            ))
        }
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("B21", "REV")
                    .kernel("v2.6.18")
                    .words(&["CHECK", "CORRUPT"])
                    .sampled(20),
                Verdict::of("B22", "REV")
                    .fixes(&["B02"])
                    .words(&["CHECK", "CORRUPT"])
                    .sampled(20),
                Verdict::of("U22.reverse", "REV").kernel("v6.5").sampled(20),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let size = params.get("size_kib") * 1024;
        let dontfork = params.get("dontfork") == 1;
        setup.file("data", size, 0);
        setup.process("forkscrew-reverse", 0, move |user| {
            main(user, size, dontfork)
        });
        setup.at_end(|kernel| {
            let bytes = kernel.file_bytes("data").expect("the file was prepared");
            let wrong = bytes.iter().filter(|byte| **byte == 0xff).count();
            if let Some(at) = bytes.iter().position(|byte| *byte == 0xff) {
                kernel.check_failed(format!(
                    "{wrong} bytes of the file are 0xff, which only the child stored; the first \
                     at offset {at:#x}"
                ));
            }
        });
    }
}

async fn main(user: User<'_>, size: u64, dontfork: bool) -> i32 {
    let Ok(mut words) = Words::new(user).await else {
        return 2;
    };
    let Ok(buffer) = user.mmap(size).await else {
        return 2;
    };
    user.fill(buffer, size, 0).await;
    if dontfork && user.madvise(buffer, size, Advice::DontFork).await.is_err() {
        return 2;
    }
    let start = Mutex::new(&mut words);
    let word = words.word();
    start.lock(user).await;
    let writer = Thread::spawn(user, word, "writer", |user| async move {
        start.lock(user).await;
        user.print("thread writing\n".to_string()).await;
        let fd = user.open("data").await.expect("the file was prepared");
        let mut done = 0;
        while done < size {
            match user.pwrite(fd, buffer + done, size - done, done).await {
                Ok(written) if written > 0 => done += written,
                _ => break,
            }
        }
        user.print("thread writing done\n".to_string()).await;
        start.unlock(user).await;
    })
    .await;
    let Ok(writer) = writer else { return 2 };
    let child = user
        .fork(|user| async move {
            user.sleep_us(50_000).await;
            user.print("child storing\n".to_string()).await;
            user.fill(buffer, size, 0xff).await;
            0
        })
        .await;
    start.unlock(user).await;
    user.sleep_us(10_000).await;
    user.print("parent storing\n".to_string()).await;
    user.fill(buffer, size, 0x11).await;
    if let Ok(pid) = child {
        let _ = user.wait(Some(pid)).await;
    }
    writer.join(user).await;
    0
}
