//! A fix of one's own, behind the whole command line:
//! `cargo run --example own_fix run forkscrew --fix counted-pins`
use shootdown::emu::{Access, Code, LockClass, LockId};
use shootdown::mmu::Pfn;
use shootdown::os::patch::{ForkAnon, Hook, Hooks, Patch};
use shootdown::os::{Cx, Page, PageFlags, page::page_step};

/// The mark of `pg-gup`, taken away with the last pin. What breaks it: a fork between a pin and
/// the hook that counts it.
struct CountedPins;

/// Kept in each page that was ever pinned: its lock, and the pins, which the lock guards.
#[derive(Clone, Default)]
struct Pins(Option<LockId>, i32);

#[rustfmt::skip]
static PIN_LOCK: LockClass = LockClass { name: "pin count", sleeps: false };

#[rustfmt::skip]
impl Patch for CountedPins {
    fn name(&self) -> &'static str { "counted-pins" }
    fn about(&self) -> &'static str { "a pin mark that ends with the last pin" }
    fn fork_anon_page(&self) -> Option<ForkAnon> { Some(ForkAnon::CopyIfPinned) }
    fn hooks(&self) -> Hooks { Hooks::PIN | Hooks::IO }
    fn at<'w>(&self, cx: Cx<'w>, hook: Hook) -> Option<Code<'w>> {
        match hook {
            Hook::Pinned { page, .. } => Some(Box::pin(count(cx, page, 1))),
            Hook::IoDone { page } => Some(Box::pin(count(cx, page, -1))),
            _ => None,
        }
    }
}

fn pins(page: &mut Page) -> &mut Pins {
    page.ext.get_or_insert_default().get_or_default()
}

async fn count(cx: Cx<'_>, pfn: Pfn, by: i32) {
    let lock = *pins(cx.pages.borrow_mut().get_mut(pfn))
        .0
        .get_or_insert_with(|| cx.machine.new_lock(&PIN_LOCK));
    // I/O ends in an interrupt, which must not wait for the task below it.
    let irqs = cx.machine.irqs_enabled(cx.machine.cpu());
    cx.machine.set_irqs(false);
    let guard = cx.machine.spin_lock(lock).await;
    page_step(cx, pfn, Access::Update, |page| {
        pins(page).1 += by;
        let pinned = pins(page).1 > 0;
        page.flags.set(PageFlags::GUP, pinned);
    })
    .await;
    guard.unlock().await;
    cx.machine.set_irqs(irqs);
}

fn main() -> std::process::ExitCode {
    shootdown::cli(shootdown::Registry::standard().with(shootdown::fix(&CountedPins)))
}
