//! A reproducer of one's own, behind the whole command line:
//! `cargo run --example own_reproducer run read-only --flush never`
use shootdown::mmu::VirtAddr;
use shootdown::os::{Setup, User};
use shootdown::workloads::{Params, Reproducer};

/// A page becomes read-only while another CPU stores to it: after `mprotect` it may not change.
struct ReadOnly;

impl Reproducer for ReadOnly {
    fn name(&self) -> &'static str {
        "read-only"
    }
    fn about(&self) -> &'static str {
        "one thread stores to a page for ever, the other makes it read-only and watches it"
    }
    fn story(&self) -> &'static str {
        "The writer's CPU has the page in its TLB as writable. Once mprotect has returned, its \
         next store must fault and end the process; if it does not, the flush was incomplete."
    }
    fn prepare<'w>(&self, setup: &mut Setup<'w>, _: &Params) {
        setup.process("read-only", 0, watch);
    }
}

async fn watch(user: User<'_>) -> i32 {
    let page = user.mmap(4096).await.expect("there is memory");
    let writer = user
        .clone_thread("writer", move |user| write(user, page))
        .await;
    user.sleep_us(20).await;
    if writer.is_err() || user.mprotect(page, 4096, false).await.is_err() {
        return 2;
    }
    let first = user.load_u32(page).await;
    for _ in 0..50 {
        let now = user.load_u32(page).await;
        if now != first {
            user.check_failed(format!("a read-only page went from {first} to {now}"));
            return 1;
        }
    }
    0
}

async fn write(user: User<'_>, page: VirtAddr) {
    for value in 1.. {
        user.store_u32(page, value).await;
    }
}

fn main() -> std::process::ExitCode {
    let registry = shootdown::Registry::standard();
    shootdown::cli(registry.with(shootdown::reproducer(&ReadOnly)))
}
