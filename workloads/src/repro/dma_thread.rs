//! `dma-thread`: many threads read a file with O_DIRECT into one buffer while another forks
//! (rows A01 to A04).

use std::num::NonZero;

use mmu::VirtAddr;
use os::{Advice, Setup, User};

use crate::pthread::{Thread, Words};
use crate::{DONTFORK, Parameter, Params, Reproducer, Verdict};

const STORY: &str = "\
Files are filled with their own number. For each part of each file, W threads read a piece each
with O_DIRECT into one buffer, while another thread forks children that exit at once. With the
buffer at a multiple of 512 that is no multiple of the page, neighbours share pages: one has its
piece's last bytes there, the other its first. When a fork falls between their two pins, the second
pin breaks copy-on-write and the disk's bytes for the first go to the page the child kept. A reader
then finds the fill pattern where the file's byte should be: at the head of a page (A02: offset
0xe00 of its piece) when the lower neighbour pinned first, at the tail (A03: offset 0) when the
upper one did. Page-aligned buffers share nothing and stay clean (A04).

Source: Red Hat bug 471613 (2008), description, comments 65 and 91.";

/// See the module.
pub struct DmaThread;

const FILL: u8 = 0xfa;
const PAGE: u64 = 4096;

impl Reproducer for DmaThread {
    fn name(&self) -> &'static str {
        "dma-thread"
    }

    fn about(&self) -> &'static str {
        "threads read one file by O_DIRECT into one buffer while another forks"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn parameters(&self) -> &'static [Parameter] {
        const fn parameter(
            name: &'static str,
            about: &'static str,
            default: u64,
            min: u64,
            max: u64,
        ) -> Parameter {
            Parameter {
                name,
                about,
                default,
                min,
                max,
            }
        }
        const {
            &[
                parameter(
                    "align",
                    "offset of the buffer in its page, bytes; a multiple of 512",
                    512,
                    0,
                    4096,
                ),
                parameter(
                    "workers",
                    "reading threads (originally as many as CPUs; hard case 40)",
                    8,
                    2,
                    256,
                ),
                // 0xfa, the fill pattern, is 250: file 249 is the last that can be told from it.
                parameter("files", "files to read (originally 100)", 1, 1, 249),
                parameter(
                    "file_kib",
                    "size of a file in KiB (originally 12288)",
                    128,
                    8,
                    1 << 20,
                ),
                parameter(
                    "read_kib",
                    "size of a part in KiB (originally 1024)",
                    32,
                    8,
                    1 << 16,
                ),
                parameter(
                    "extent_kib",
                    "KiB of a file that lie together on the disk: a transfer is no longer; 0: all",
                    0,
                    0,
                    1 << 16,
                ),
                DONTFORK,
            ]
        }
    }

    fn memory_mib(&self, params: &Params) -> u64 {
        // The buffer, a child's copies of it, and what goes with them.
        64 + params.get("read_kib") * 4 / 1024
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const LOST: &[&str] = &["CHECK", "CORRUPT"];
        const {
            &[
                Verdict::of("A01", "FWD")
                    .kernel("v2.6.18")
                    .set(&[("align", 512)])
                    .words(LOST)
                    .sampled(20),
                Verdict::of("A04", "FWD")
                    .kernel("v2.6.18")
                    .set(&[("align", 0)])
                    .sampled(1000)
                    .guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("A41", "FWD")
                    .fixes(&["A41"])
                    .set(&[("align", 512)])
                    .sampled(1000)
                    .guards(&[("no-pin-mark", &["CHECK", "CORRUPT"])]),
                Verdict::of("B02", "FAST")
                    .fixes(&["B02"])
                    .set(&[("align", 512)])
                    .sampled(1000)
                    .guards(&[("fork-copies-none", &["CHECK", "CORRUPT"])]),
                Verdict::of("U22", "FWD")
                    .guards(&[("shares-untested", &["CHECK", "CORRUPT"])])
                    .kernel("v6.5")
                    .set(&[("align", 512)])
                    .sampled(1000),
            ]
        }
    }

    fn check(&self, params: &Params) -> Result<(), String> {
        let (align, workers, read, file) = (
            params.get("align"),
            params.get("workers"),
            params.get("read_kib"),
            params.get("file_kib"),
        );
        if align % 512 != 0 {
            return Err(format!(
                "align={align}: O_DIRECT takes multiples of 512 only, such as 0 or 512"
            ));
        }
        if workers * PAGE > read * 1024 {
            return Err(format!(
                "workers={workers}: each reads 4 KiB of a part of {read} KiB, so at most {} fit",
                read * 1024 / PAGE
            ));
        }
        if file % read != 0 || read % 4 != 0 {
            return Err(format!(
                "file_kib={file}, read_kib={read}: a part is a multiple of 4 KiB and a file is \
                 whole parts"
            ));
        }
        Ok(())
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let job = Job {
            align: params.get("align"),
            workers: params.get("workers"),
            files: params.get("files"),
            file_bytes: params.get("file_kib") * 1024,
            read_bytes: params.get("read_kib") * 1024,
            dontfork: params.get("dontfork") == 1,
        };
        if let Some(extent) = NonZero::new(params.get("extent_kib")) {
            setup.cut_direct_io(64, extent.get() * 1024);
        }
        // The first mode of the original wrote the files; its last byte is what matters.
        for number in 1..=job.files {
            setup.file(&file_name(number), job.file_bytes, number as u8);
        }
        setup.process("dma-thread", 0, move |user| main(user, job));
    }
}

fn file_name(number: u64) -> String {
    format!("file{number:03}")
}

#[derive(Clone, Copy)]
struct Job {
    align: u64,
    workers: u64,
    files: u64,
    file_bytes: u64,
    read_bytes: u64,
    dontfork: bool,
}

/// Words that all threads of the program share.
struct Sync {
    stop: VirtAddr,
    forker: VirtAddr,
    workers: Vec<VirtAddr>,
}

async fn sync_words(user: User<'_>, workers: u64) -> Result<Sync, os::Errno> {
    let mut words = Words::new(user).await?;
    let (stop, forker) = (words.word(), words.word());
    let mut all = Vec::new();
    while (all.len() as u64) < workers {
        if all.len() % 60 == 59 {
            words = Words::new(user).await?;
        }
        all.push(words.word());
    }
    Ok(Sync {
        stop,
        forker,
        workers: all,
    })
}

async fn main(user: User<'_>, job: Job) -> i32 {
    let Ok(sync) = sync_words(user, job.workers).await else {
        return 2;
    };
    let len = job.read_bytes + job.align;
    let Ok(buffer) = user.mmap(len).await else {
        return 2;
    };
    if job.dontfork && user.madvise(buffer, len, Advice::DontFork).await.is_err() {
        return 2;
    }
    for number in 1..=job.files {
        let mut files = Vec::new();
        for _ in 0..job.workers {
            let Ok(fd) = user.open(&file_name(number)).await else {
                return 2;
            };
            files.push(fd);
        }
        for part in 0..job.file_bytes / job.read_bytes {
            user.fill(buffer, len, FILL).await;
            let at = part * job.read_bytes;
            if read_part(user, job, &sync, &files, buffer, at, number as u8)
                .await
                .is_err()
            {
                return 2;
            }
        }
        for fd in files {
            let _ = user.close(fd).await;
        }
    }
    0
}

/// One part: the fork thread and the workers at once.
async fn read_part(
    user: User<'_>,
    job: Job,
    sync: &Sync,
    files: &[usize],
    buffer: VirtAddr,
    part: u64,
    byte: u8,
) -> Result<(), os::Errno> {
    let stop = sync.stop;
    user.store_u32(stop, 0).await;
    let forker = Thread::spawn(user, sync.forker, "forker", |user| forker(user, stop)).await?;
    let mut workers = Vec::new();
    for (index, (word, fd)) in sync.workers.iter().zip(files).enumerate() {
        let index = index as u64;
        let last = index + 1 == job.workers;
        let piece = Piece {
            fd: *fd,
            at: buffer + job.align + PAGE * index,
            offset: part + PAGE * index,
            len: if last {
                job.read_bytes - PAGE * index
            } else {
                PAGE
            },
            byte,
        };
        let name = format!("worker-{index}");
        workers.push(Thread::spawn(user, *word, &name, |user| worker(user, piece)).await?);
    }
    for worker in workers {
        worker.join(user).await;
    }
    user.store_u32(stop, 1).await;
    forker.join(user).await;
    Ok(())
}

/// Forks children that exit at once, until told to stop.
async fn forker(user: User<'_>, stop: VirtAddr) {
    while user.load_u32(stop).await == 0 {
        if let Ok(pid) = user.fork(|_| async { 0 }).await {
            let _ = user.wait(Some(pid)).await;
        }
        user.sleep_us(100).await;
    }
}

#[derive(Clone, Copy)]
struct Piece {
    fd: usize,
    at: VirtAddr,
    offset: u64,
    len: u64,
    byte: u8,
}

/// One blocking read, then a look at every byte; the first bad one ends the process, with 16
/// bytes from 8 before it. (With `align=0`, nothing is mapped before the buffer, and nothing bad
/// is ever found.)
async fn worker(user: User<'_>, piece: Piece) {
    let got = user
        .pread(piece.fd, piece.at, piece.len, piece.offset)
        .await;
    if let Err(error) = got {
        user.check_failed(format!(
            "read of {} bytes at {}: {error}",
            piece.len, piece.offset
        ));
        return user.abort().await;
    }
    let Some(bad) = user.find_mismatch(piece.at, piece.len, piece.byte).await else {
        return;
    };
    user.check_failed(format!(
        "Bad data at 0x{bad:06x} of the {} bytes read at {:#x} of the file",
        piece.len, piece.offset
    ));
    let mut around = [0; 16];
    user.load(VirtAddr::new((piece.at + bad).get() - 8), &mut around)
        .await;
    let hex: Vec<String> = around.iter().map(|byte| format!("{byte:02x}")).collect();
    let message = format!(
        "Bad data at 0x{bad:06x} (address {}): {}",
        piece.at + bad,
        hex.join(" ")
    );
    user.print(format!("{message}\n")).await;
    user.abort().await;
}
