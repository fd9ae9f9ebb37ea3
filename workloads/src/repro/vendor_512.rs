//! `vendor-512`: threads read 512 bytes each into slots of one page while another forks (row A08).

use mmu::VirtAddr;
use os::{Advice, Setup, User};

use crate::pthread::{Thread, Words};
use crate::{DONTFORK, Parameter, Params, Reproducer, Verdict};

const STORY: &str = "\
One page is filled with '7'. Threads read 512 bytes of a file each, with O_DIRECT, into their own
slot of that page, again and again, while another thread forks. All pins are of one page, so any
fork between two of them separates the earlier ones from the process: a slot still holds its
sevens after a read that reported 512 bytes.

Source: the vendor's reproducer in Red Hat bug 471613, comments 51, 55 and 61; the meaning of the
printed pattern is read as 'slot still holds its prefill'.";

/// See the module.
pub struct Vendor512;

const SLOT: u64 = 512;
const PREFILL: u8 = b'7';
const DATA: u8 = 0x5a;

impl Reproducer for Vendor512 {
    fn name(&self) -> &'static str {
        "vendor-512"
    }

    fn about(&self) -> &'static str {
        "512-byte direct reads by many threads into one page while another forks"
    }

    fn story(&self) -> &'static str {
        STORY
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            Parameter {
                name: "threads",
                about: "reading threads, a slot each",
                default: 4,
                min: 1,
                max: 8,
            },
            Parameter {
                name: "rounds",
                about: "reads by each thread",
                default: 4,
                min: 1,
                max: 1_000_000,
            },
            DONTFORK,
        ]
    }

    fn verdicts(&self) -> &'static [Verdict] {
        const {
            &[
                Verdict::of("A08", "FWD")
                    .kernel("v2.6.18")
                    .words(&["CHECK", "CORRUPT"])
                    .sampled(100),
                Verdict::of("A08.A22", "FWD")
                    .bounded(5)
                    .fixes(&["A22"])
                    .set(&[("threads", 3), ("rounds", 2)])
                    .words(&["CHECK", "CORRUPT"])
                    .note("never in 300 timed seeds: by schedule alone, as the testers told"),
                Verdict::of("A08.A23", "FWD")
                    .bounded(5)
                    .fixes(&["A23"])
                    .set(&[("threads", 3), ("rounds", 2)])
                    .words(&["CHECK", "CORRUPT"])
                    .note("never in 150,000 timed seeds: by schedule alone, as the testers told"),
                Verdict::of("A08.A24", "FWD")
                    .fixes(&["A24"])
                    .sampled(300)
                    .guards(&[("completes-early", &["CHECK"])]),
                Verdict::of("B02", "FAST")
                    .fixes(&["B02"])
                    .sampled(1000)
                    .guards(&[("fork-copies-none", &["CHECK", "CORRUPT"])]),
                Verdict::of("U22", "FWD")
                    .guards(&[("shares-untested", &["CHECK", "CORRUPT"])])
                    .kernel("v6.5")
                    .sampled(1000),
            ]
        }
    }

    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params) {
        let (threads, rounds) = (params.get("threads"), params.get("rounds"));
        let dontfork = params.get("dontfork") == 1;
        setup.file("data", threads * SLOT, DATA);
        setup.process("vendor-512", 0, move |user| {
            main(user, threads, rounds, dontfork)
        });
    }
}

async fn main(user: User<'_>, threads: u64, rounds: u64, dontfork: bool) -> i32 {
    let Ok(mut words) = Words::new(user).await else {
        return 2;
    };
    let Ok(page) = user.mmap(4096).await else {
        return 2;
    };
    user.fill(page, 4096, PREFILL).await;
    if dontfork && user.madvise(page, 4096, Advice::DontFork).await.is_err() {
        return 2;
    }
    let (stop, failed, word) = (words.word(), words.word(), words.word());
    let forker = Thread::spawn(user, word, "forker", |user| forker(user, stop)).await;
    let Ok(forker) = forker else { return 2 };
    let mut readers = Vec::new();
    for index in 0..threads {
        let name = format!("reader-{index}");
        let reader = Thread::spawn(user, words.word(), &name, |user| {
            reader(user, page + index * SLOT, index, rounds, failed)
        })
        .await;
        let Ok(reader) = reader else { return 2 };
        readers.push(reader);
    }
    for reader in readers {
        reader.join(user).await;
    }
    user.store_u32(stop, 1).await;
    forker.join(user).await;
    user.load_u32(failed).await as i32
}

async fn forker(user: User<'_>, stop: VirtAddr) {
    while user.load_u32(stop).await == 0 {
        if let Ok(pid) = user.fork(|_| async { 0 }).await {
            let _ = user.wait(Some(pid)).await;
        }
    }
}

/// Fills its slot with the pattern, reads, and looks for sevens.
async fn reader(user: User<'_>, slot: VirtAddr, index: u64, rounds: u64, failed: VirtAddr) {
    let fd = user.open("data").await.expect("the file was prepared");
    for round in 0..rounds {
        if round > 0 {
            user.fill(slot, SLOT, PREFILL).await;
        }
        let got = user.pread(fd, slot, SLOT, index * SLOT).await;
        if user.find_mismatch(slot, SLOT, PREFILL).await.is_none() {
            let got = got.map_or_else(|error| error.to_string(), |bytes| bytes.to_string());
            user.check_failed(format!(
                "slot {index} holds only sevens after a read that returned {got}"
            ));
            user.print(format!("slot {index}: read returned {got}, pattern 7\n"))
                .await;
            user.store_u32(failed, 1).await;
            return;
        }
    }
}
