//! fork's copy of a pinned page with both page-table locks dropped, so that the allocation may
//! sleep: whatever else walks the tables can come in between.

use emu::SpinGuard;
use mmu::{Pfn, Pte, PteFlags};

use crate::fault::pte_same;
use crate::fork::Entry;
use crate::mm::{MmId, read_pte, set_pte_at, update_pte, user_pte};
use crate::page::{
    Holder, alloc_page_or_reclaim, copy_page, page_add_new_anon_rmap, page_remove_rmap,
    pass_reference, put_page,
};
use crate::patch::{Decow, ForkCopy, ForkEnomem, ForkRelock};
use crate::swap::free_swap_and_cache;
use crate::{Cx, Errno};

/// The page-table locks that fork holds over a table: the child's outside, the parent's nested.
pub(crate) struct Locks<'w> {
    cx: Cx<'w>,
    child: MmId,
    parent: MmId,
    held: Option<(SpinGuard<'w>, SpinGuard<'w>)>,
    /// A page for the next copy, taken while nothing was held.
    spare: Option<Pfn>,
}

impl<'w> Locks<'w> {
    /// The child's is held; takes the parent's.
    pub async fn nest(cx: Cx<'w>, child: MmId, dst: SpinGuard<'w>, parent: MmId) -> Locks<'w> {
        let src = cx.machine.spin_lock_nested(cx.mm(parent).ptl).await;
        let locks = Locks {
            cx,
            child,
            parent,
            held: Some((dst, src)),
            spare: None,
        };
        locks.map();
        locks
    }

    /// Releases both, the parent's first, and has no more to do with the tables.
    pub async fn give_up(mut self) {
        self.unlock().await;
        self.unmap();
    }

    /// Releases both, the parent's first.
    async fn unlock(&mut self) {
        if let Some((dst, src)) = self.held.take() {
            src.unlock().await;
            dst.unlock().await;
        }
    }

    /// Frees the page that no copy wanted.
    pub async fn give_back_page(&mut self) {
        if let Some(page) = self.spare.take() {
            put_page(self.cx, page, Holder::Hand).await;
        }
    }

    async fn lock(&mut self, how: ForkRelock) {
        let machine = &self.cx.machine;
        let dst = machine.spin_lock(self.cx.mm(self.child).ptl).await;
        let parent = self.cx.mm(self.parent).ptl;
        let src = match how {
            ForkRelock::StayMapped => machine.spin_lock(parent).await,
            ForkRelock::Unmap => machine.spin_lock_nested(parent).await,
        };
        self.held = Some((dst, src));
    }

    /// Maps the child's table and the parent's, where tables must be mapped to be reached.
    fn map(&self) {
        if self.must_map() {
            self.cx.machine.map_atomic();
            self.cx.machine.map_atomic();
        }
    }

    fn unmap(&self) {
        if self.must_map() {
            self.cx.machine.unmap_atomic();
            self.cx.machine.unmap_atomic();
        }
    }

    fn must_map(&self) -> bool {
        self.cx.ask(|patch| patch.high_page_tables()) == Some(true)
    }
}

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Copied {
    /// The child has its page.
    Done,
    /// The entry changed while the locks were dropped: look at it again.
    Again,
}

/// The child gets a copy of `page`, made without the locks; they are held again at the end. The
/// child's reference and mapping are taken, its entry is empty, and the parent's lost its write
/// permission, which it gets back.
pub(crate) async fn copy_pinned_page_unlocked<'w>(
    cx: Cx<'w>,
    entry: Entry,
    page: Pfn,
    how: ForkCopy,
    locks: &mut Locks<'w>,
) -> Result<Copied, Errno> {
    let _span = cx.machine.span("fork_pre_cow");
    let seen = read_pte(cx, entry.source).await;
    let relock = cx.ask(|patch| patch.fork_relock());
    let relock = relock.unwrap_or(ForkRelock::StayMapped);
    locks.unlock().await;
    if relock == ForkRelock::Unmap {
        locks.unmap();
    }
    let new = alloc_page_or_reclaim(cx).await;
    if let Some(new) = new {
        copy_page(cx, new, page).await;
    }
    if relock == ForkRelock::Unmap {
        locks.map();
    }
    locks.lock(relock).await;
    if new.is_none() && cx.ask(|patch| patch.fork_enomem()) == Some(ForkEnomem::Leave) {
        return Err(Errno::ENOMEM);
    }
    let same = pte_same(read_pte(cx, entry.source).await, seen)
        && read_pte(cx, entry.target).await.is_none();
    update_pte(cx, entry.parent, entry.va, entry.source, move |pte| {
        if !entry.writable || how == ForkCopy::UnlockedIfPresent && !pte.present() {
            pte
        } else {
            pte.with(PteFlags::W)
        }
    })
    .await;
    page_remove_rmap(cx, page).await;
    put_page(cx, page, Holder::Mapping).await;
    let Some(new) = new else {
        return Err(Errno::ENOMEM);
    };
    if !same {
        put_page(cx, new, Holder::Hand).await;
        return Ok(Copied::Again);
    }
    page_add_new_anon_rmap(cx, new, entry.child, entry.va.page().get()).await;
    pass_reference(cx, new, Holder::Hand, Holder::Mapping);
    let pte = user_pte(new, entry.rules.may_write, true);
    set_pte_at(cx, entry.child, entry.va, entry.target, pte).await;
    cx.count("pages copied at fork", 1);
    Ok(Copied::Done)
}

/// The child gets a copy of `page`, in a frame that was taken while no lock was held; the parent's
/// entry stays as it is, so a store can tear the copy (`copy_present_page`).
pub(crate) async fn copy_present_page<'w>(
    cx: Cx<'w>,
    entry: Entry,
    page: Pfn,
    locks: &mut Locks<'w>,
) -> Result<Copied, Errno> {
    let _span = cx.machine.span("copy_present_page");
    let Some(new) = locks.spare.take() else {
        locks.unlock().await;
        locks.unmap();
        locks.spare = alloc_page_or_reclaim(cx).await;
        locks.map();
        locks.lock(ForkRelock::Unmap).await;
        return locks.spare.map(|_| Copied::Again).ok_or(Errno::ENOMEM);
    };
    copy_page(cx, new, page).await;
    page_add_new_anon_rmap(cx, new, entry.child, entry.va.page().get()).await;
    pass_reference(cx, new, Holder::Hand, Holder::Mapping);
    let pte = user_pte(new, entry.rules.may_write, true);
    set_pte_at(cx, entry.child, entry.va, entry.target, pte).await;
    cx.count("pages copied at fork", 1);
    Ok(Copied::Done)
}

/// The child shares `page` since a moment ago, by the entry `shared`; it gets a copy instead, made
/// without the locks (`do_fork_cow`). The parent's entry stays read-only: its next store finds that
/// nobody else maps the page.
pub(crate) async fn decow_page<'w>(
    cx: Cx<'w>,
    entry: Entry,
    page: Pfn,
    shared: Pte,
    how: Decow,
    locks: &mut Locks<'w>,
) -> Result<Copied, Errno> {
    let _span = cx.machine.span("decow_pte");
    locks.unlock().await;
    locks.unmap();
    let new = alloc_page_or_reclaim(cx).await;
    if let Some(new) = new {
        copy_page(cx, new, page).await;
    }
    locks.map();
    locks.lock(ForkRelock::Unmap).await;
    let Some(new) = new else {
        return Err(Errno::ENOMEM);
    };
    let now = read_pte(cx, entry.target).await;
    if !pte_same(now, shared) {
        put_page(cx, new, Holder::Hand).await;
        if how == Decow::Assert {
            cx.bug_on(true, || {
                format!(
                    "fork left an entry of the child at {} and finds another",
                    entry.va
                )
            });
            return Ok(Copied::Done);
        }
        set_pte_at(cx, entry.child, entry.va, entry.target, Pte::NONE).await;
        if now.present() {
            page_remove_rmap(cx, now.pfn()).await;
            put_page(cx, now.pfn(), Holder::Mapping).await;
        } else {
            free_swap_and_cache(cx, now).await;
        }
        return Ok(Copied::Again);
    }
    page_add_new_anon_rmap(cx, new, entry.child, entry.va.page().get()).await;
    pass_reference(cx, new, Holder::Hand, Holder::Mapping);
    let pte = user_pte(new, entry.rules.may_write, true);
    set_pte_at(cx, entry.child, entry.va, entry.target, pte).await;
    page_remove_rmap(cx, page).await;
    if cx.ask(|patch| patch.fork_copy_leaks()) != Some(true) {
        put_page(cx, page, Holder::Mapping).await;
    }
    cx.count("pages copied at fork", 1);
    Ok(Copied::Done)
}
