//! fork: a new process whose memory is the parent's, copied on write.

use emu::{Access, Code, Request, ThreadId};
use mmu::{PhysAddr, Pte, PteFlags, VirtAddr};

use crate::cpuset::CpuSet;
use crate::exclusive::{SWP_EXCLUSIVE, try_dup};
use crate::extension::Extensions;
use crate::flush::{FlushRange, flush_tlb_mm, flush_tlb_page};
use crate::fork_copy::{Copied, Locks, copy_pinned_page_unlocked, copy_present_page, decow_page};
use crate::huge::copy_hugetlb_page_range;
use crate::lock::{MMAP_SEM, PTL, down_write, trylock_page, unlock_page, up_write};
use crate::mm::{
    MMAP_BASE, Mm, MmId, VmFlags, Vma, find_entry, pte_alloc, read_pte, set_pte_at, update_pte,
    user_pte,
};
use crate::page::{
    Holder, PageFlags, alloc_page, copy_page, get_page_unordered, page_add_new_anon_rmap,
    page_count, page_dup_rmap_unordered, page_mapcount, page_remove_rmap, page_step,
    pass_reference, put_page,
};
use crate::patch::{Decow, ForkAnon, ForkCopy, Hook, Hooks, call_hooks};
use crate::pin::{may_be_pinned, root_is_pinned, write_protect_begins, write_protect_ends};
use crate::rmap::{anon_vma_lock, anon_vma_unlock};
use crate::swap::{pte_to_swp_entry, swap_duplicate};
use crate::task::{Pid, Process};
use crate::{Cx, Errno, barrier, context, event, exit, fork_lock, sched};

/// Makes a child of the current process that runs `program`.
pub async fn do_fork<'w>(cx: Cx<'w>, program: Code<'w>) -> Result<Pid, Errno> {
    let (pid, thread) = copy_process(cx, program).await?;
    sched::wake_up_new_task(cx, thread).await;
    Ok(pid)
}

/// A child that no CPU runs so far; it has its copy of the address space.
pub async fn copy_process<'w>(cx: Cx<'w>, program: Code<'w>) -> Result<(Pid, ThreadId), Errno> {
    let _span = cx.machine.span("do_fork");
    cx.machine.spend(u64::from(cx.machine.costs().fork_fixed));
    let begun = cx.machine.now();
    let parent_mm = cx.current_mm();
    let child_mm = mm_init(cx).await?;
    if let Err(error) = dup_mmap(cx, parent_mm, child_mm).await {
        cx.count("forks that failed", 1);
        exit::mmput(cx, child_mm).await;
        return Err(error);
    }
    let pid = cx.pid_of(child_mm);
    let thread = new_child(cx, pid, child_mm, program, false);
    cx.count("forks", 1);
    cx.count("cycles in fork", cx.machine.now() - begun);
    Ok((pid, thread))
}

/// A child that runs `program` in the current address space; sleeps until it has ended or would
/// run another program (`vfork`). Nothing is copied, and nothing shared that was not.
pub async fn do_vfork<'w>(cx: Cx<'w>, program: Code<'w>) -> Pid {
    let _span = cx.machine.span("do_vfork");
    cx.machine.spend(u64::from(cx.machine.costs().fork_fixed));
    let mm = cx.current_mm();
    let request = Request::touch(
        context::mm_object(cx, mm),
        Access::Update,
        cx.machine.costs().l1,
    );
    let mut pid = 0;
    cx.machine
        .step(request, |_| {
            cx.mms.borrow_mut()[mm].users += 1;
            pid = cx.new_pid();
        })
        .await;
    let thread = new_child(cx, pid, mm, program, true);
    sched::wake_up_new_task(cx, thread).await;
    event::wait(cx, event::vfork_done(pid)).await;
    pid
}

fn new_child<'w>(cx: Cx<'w>, pid: Pid, mm: MmId, program: Code<'w>, vforked: bool) -> ThreadId {
    let parent = cx.tasks.borrow()[cx.current()].process;
    let (name, files) = {
        let processes = cx.processes.borrow();
        (
            format!("{} child", processes[parent].name),
            processes[parent].files.clone(),
        )
    };
    let siblings = crate::exit::process_object(cx, parent);
    cx.machine.touch(siblings, emu::Touch::Write);
    let child = cx.processes.borrow_mut().insert(Process {
        pid,
        name: name.clone(),
        parent: Some(parent),
        tasks: Vec::new(),
        files,
        exit: None,
        zombie: false,
        waiters: Vec::new(),
        vforked,
        main: false,
    });
    let here = cx.machine.cpu();
    cx.new_task(format!("{name} {pid}"), child, mm, here, program)
}

/// A new, empty address space.
async fn mm_init(cx: Cx<'_>) -> Result<MmId, Errno> {
    let root = alloc_page(cx).await.ok_or(Errno::ENOMEM)?;
    Ok(cx.new_mm(root))
}

impl crate::Kernel<'_> {
    /// An address space under the empty table `root`.
    pub(crate) fn new_mm(&self, root: mmu::Pfn) -> MmId {
        self.make_table(root);
        let pid = self.new_pid();
        let mm = self.mms.borrow_mut().insert(Mm {
            root,
            mmap_sem: self.machine.new_lock(&MMAP_SEM),
            ptl: self.machine.new_lock(&PTL),
            pid,
            vmas: Default::default(),
            mmap_base: MMAP_BASE,
            users: 1,
            cpumask: CpuSet::EMPTY,
            has_pinned: false,
            root_pins: 0,
            write_protect_seq: 0,
            ext: Extensions::default(),
        });
        self.init_fork_lock(mm);
        mm
    }
}

/// Copies the mappings and their entries. The parent's `mmap_sem` is held throughout, and one
/// flush before it is released takes away what its threads still have cached.
async fn dup_mmap(cx: Cx<'_>, parent: MmId, child: MmId) -> Result<(), Errno> {
    let _span = cx.machine.span("dup_mmap");
    let sem = cx.mm(parent).mmap_sem;
    call_hooks(cx, Hooks::FORK, Hook::ForkBegin { mm: parent }).await;
    let fork_lock = fork_lock::fork_begins(cx, parent).await;
    down_write(cx, sem).await;
    cx.oracles.fork_begin(cx, parent);
    let linking = anon_vma_lock(cx).await;
    let vmas: Vec<Vma> = {
        let mut mms = cx.mms.borrow_mut();
        let (base, ext) = (mms[parent].mmap_base, mms[parent].ext.clone());
        let copied: Vec<Vma> = mms[parent]
            .vmas
            .values()
            .filter(|vma| !vma.flags.contains(VmFlags::DONTCOPY))
            .cloned()
            .collect();
        let to = &mut mms[child];
        to.mmap_base = base;
        to.ext = ext;
        to.vmas = copied
            .iter()
            .map(|vma| (vma.start.get(), vma.clone()))
            .collect();
        copied
    };
    anon_vma_unlock(linking).await;
    cx.init_fork_lock(child);
    cx.init_ranges(child);
    let mut result = Ok(());
    for vma in &vmas {
        result = if vma.flags.contains(VmFlags::HUGE) {
            copy_hugetlb_page_range(cx, parent, child, vma).await
        } else {
            copy_page_range(cx, parent, child, vma).await
        };
        if result.is_err() {
            break;
        }
    }
    flush_tlb_mm(cx, parent, FlushRange::All).await;
    cx.oracles.fork_end(cx, parent, child);
    up_write(cx, sem).await;
    fork_lock::fork_ends(cx, fork_lock).await;
    call_hooks(cx, Hooks::FORK, Hook::ForkEnd { mm: parent, child }).await;
    result
}

/// Copies the entries of one mapping, a page table's worth at a time.
async fn copy_page_range(cx: Cx<'_>, parent: MmId, child: MmId, vma: &Vma) -> Result<(), Errno> {
    let all = vma.flags.contains(VmFlags::COPYFORK)
        && cx.ask(|patch| patch.fork_copies_mappings()) == Some(true);
    let rules = Rules {
        may_write: vma.flags.contains(VmFlags::WRITE),
        all,
        later: vma.flags.contains(VmFlags::PINNED),
    };
    write_protect_begins(cx, parent).await;
    let mut result = Ok(());
    let mut va = vma.start;
    while va < vma.end && result.is_ok() {
        let table_end = VirtAddr::new((va.get() | (mmu::LARGE_PAGE_SIZE as u64 - 1)) + 1);
        let end = table_end.min(vma.end);
        if let Some(source) = find_entry(cx, parent, va).await {
            result = copy_pte_range(cx, parent, child, va..end, source, rules).await;
        }
        va = end;
    }
    write_protect_ends(cx, parent).await;
    result
}

/// Copies entries that lie in one table, with both page-table locks held: the child's outside,
/// the parent's nested.
async fn copy_pte_range(
    cx: Cx<'_>,
    parent: MmId,
    child: MmId,
    range: std::ops::Range<VirtAddr>,
    source: PhysAddr,
    rules: Rules,
) -> Result<(), Errno> {
    let dst_ptl = cx.machine.spin_lock(cx.mm(child).ptl).await;
    let Some(target) = pte_alloc(cx, child, range.start).await else {
        dst_ptl.unlock().await;
        return Err(Errno::ENOMEM);
    };
    let mut locks = Locks::nest(cx, child, dst_ptl, parent).await;
    let mut result = Ok(Copied::Again);
    let pages = (range.end - range.start) / mmu::PAGE_SIZE as u64;
    let entry = |page| Entry {
        parent,
        child,
        va: range.start + page * mmu::PAGE_SIZE as u64,
        writable: false,
        rules,
        source: source + page * 8,
        target: target + page * 8,
    };
    for page in 0..pages {
        while result == Ok(Copied::Again) {
            result = copy_one_pte(cx, entry(page), &mut locks).await;
        }
        if result.is_err() {
            break;
        }
        result = Ok(Copied::Again);
    }
    for page in 0..pages {
        if !rules.later || result.is_err() {
            break;
        }
        result = decow_later(cx, entry(page), &mut locks).await;
    }
    locks.give_back_page().await;
    locks.give_up().await;
    result.map(|_| ())
}

/// What holds for a whole mapping.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// It may be written.
    pub may_write: bool,
    /// Each page is copied.
    pub all: bool,
    /// Each page is copied once all are shared, and the parent's entries stay as they are.
    pub later: bool,
}

/// An entry that fork copies.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub parent: MmId,
    pub child: MmId,
    pub va: VirtAddr,
    pub source: PhysAddr,
    pub target: PhysAddr,
    /// The parent's entry was writable.
    pub writable: bool,
    /// What holds for the mapping.
    pub rules: Rules,
}

/// Shares one page: read-only on both sides, one more reference, one more mapping. Whether a page
/// that may be pinned is shared at all is a patch's question. Both page-table locks are held.
async fn copy_one_pte<'w>(
    cx: Cx<'w>,
    entry: Entry,
    locks: &mut Locks<'w>,
) -> Result<Copied, Errno> {
    let _span = cx.machine.span("copy_one_pte");
    let pte = read_pte(cx, entry.source).await;
    if !pte.present() {
        copy_swap_entry(cx, entry, pte).await;
        return Ok(Copied::Done);
    }
    cx.machine.spend(u64::from(cx.machine.costs().fork_entry));
    let page = pte.pfn();
    if page == cx.zero_page {
        set_pte_at(cx, entry.child, entry.va, entry.target, pte).await;
        return Ok(Copied::Done);
    }
    let policy = cx
        .ask(|patch| patch.fork_anon_page())
        .unwrap_or(ForkAnon::Share);
    let protects_first = policy == ForkAnon::CopyIfDmaPinned
        && pte.writable()
        && cx.ask(|patch| patch.fork_protects_before_pins()) == Some(true);
    if protects_first {
        write_protect(cx, entry).await;
    }
    if policy == ForkAnon::CopyIfDmaPinned && may_be_pinned(cx, entry.parent, page).await {
        let copied = copy_present_page(cx, entry, page, locks).await;
        if protects_first {
            let source = entry.source;
            barrier::change_pte(cx, entry.parent, entry.va, source, |pte| {
                pte.with(PteFlags::W)
            })
            .await;
        }
        return copied;
    }
    if policy == ForkAnon::CopyIfExclusivePinned && !try_dup(cx, entry.parent, page).await {
        return copy_present_page(cx, entry, page, locks).await;
    }
    let entry = Entry {
        writable: pte.writable(),
        ..entry
    };
    let first = cx.ask(|patch| patch.fork_tests_first()) == Some(true);
    let tested = !entry.rules.all
        && (entry.writable || cx.ask(|patch| patch.fork_tests_read_only()) == Some(true));
    let mut copy = first && tested && must_copy(cx, policy, page).await;
    let protects = cx.ask(|patch| patch.fork_write_protects()) != Some(false);
    if entry.writable && protects && !protects_first && !entry.rules.later {
        write_protect(cx, entry).await;
    }
    get_page_unordered(cx, page, Holder::Mapping).await;
    page_dup_rmap_unordered(cx, page).await;
    if cx.ask(|patch| patch.fork_barrier()).unwrap_or(true) {
        barrier::smp_mb(cx).await;
    }
    if !first {
        copy = tested && must_copy(cx, policy, page).await;
    }
    if copy || entry.rules.all {
        if cx.ask(|patch| patch.fork_flushes_copied()) == Some(true) {
            flush_tlb_page(cx, entry.parent, FlushRange::page(entry.va)).await;
        }
        return match cx.ask(|patch| patch.fork_copy()) {
            None | Some(ForkCopy::Atomic) => copy_pinned_page(cx, entry, page).await,
            Some(how) => copy_pinned_page_unlocked(cx, entry, page, how, locks).await,
        };
    }
    let mut shared = Pte::from_raw(pte.raw());
    if protects {
        shared = shared.without(PteFlags::W);
    }
    set_pte_at(cx, entry.child, entry.va, entry.target, shared).await;
    if let Some(how) = cx.ask(|patch| patch.fork_decow())
        && page_is_marked(cx, page).await
    {
        return decow_page(cx, entry, page, shared, how, locks).await;
    }
    Ok(Copied::Done)
}

async fn write_protect(cx: Cx<'_>, entry: Entry) {
    let Entry {
        parent, va, source, ..
    } = entry;
    barrier::change_pte(cx, parent, va, source, |pte| pte.without(PteFlags::W)).await;
}

/// All entries are shared by now: the child gets a copy of this one's page.
async fn decow_later<'w>(cx: Cx<'w>, entry: Entry, locks: &mut Locks<'w>) -> Result<Copied, Errno> {
    loop {
        let pte = read_pte(cx, entry.target).await;
        if !pte.is_leaf() || pte.pfn() == cx.zero_page {
            return Ok(Copied::Again);
        }
        if decow_page(cx, entry, pte.pfn(), pte, Decow::Retry, locks).await? == Copied::Done {
            return Ok(Copied::Again);
        }
        while copy_one_pte(cx, entry, locks).await? == Copied::Again {}
    }
}

/// The child's page is in swap as the parent's is: one more user of the slot.
async fn copy_swap_entry(cx: Cx<'_>, entry: Entry, pte: Pte) {
    if let Some(slot) = pte_to_swp_entry(cx, pte) {
        swap_duplicate(cx, slot).await;
    }
    let (pte, was) = (pte.without(SWP_EXCLUSIVE), pte);
    if pte != was {
        set_pte_at(cx, entry.parent, entry.va, entry.source, pte).await;
    }
    if !pte.is_none() {
        set_pte_at(cx, entry.child, entry.va, entry.target, pte).await;
    }
}

/// Whether fork copies a page whose entry was writable.
async fn must_copy(cx: Cx<'_>, policy: ForkAnon, page: mmu::Pfn) -> bool {
    match policy {
        ForkAnon::Share | ForkAnon::CopyIfDmaPinned | ForkAnon::CopyIfExclusivePinned => false,
        ForkAnon::CopyIfPinned => page_looks_pinned(cx, page).await,
        ForkAnon::CopyIfRootPinned => root_is_pinned(cx, page).await,
        ForkAnon::CopyIfForeign => count_is_foreign(cx, page).await,
        ForkAnon::CopyIfForeignLocked => {
            if !trylock_page(cx, page).await {
                return true;
            }
            let foreign = count_is_foreign(cx, page).await;
            unlock_page(cx, page).await;
            foreign
        }
    }
}

/// Whether the count is not that of mappings and swap cache: three looks, the count first.
async fn count_is_foreign(cx: Cx<'_>, page: mmu::Pfn) -> bool {
    let count = page_count(cx, page).await;
    let mapcount = page_mapcount(cx, page).await;
    let cached = page_step(cx, page, emu::Access::Read, |page| {
        page.flags.contains(PageFlags::SWAPCACHE)
    })
    .await;
    count != mapcount + i32::from(cached)
}

/// Whether somebody who is no mapping holds a reference, among pages that a pin ever marked: two
/// separate looks, the mark first.
pub(crate) async fn page_looks_pinned(cx: Cx<'_>, page: mmu::Pfn) -> bool {
    page_is_marked(cx, page).await && page_count(cx, page).await != page_mapcount(cx, page).await
}

/// Whether a pin ever marked the page.
pub(crate) async fn page_is_marked(cx: Cx<'_>, page: mmu::Pfn) -> bool {
    barrier::read_flags(cx, page, |flags| flags.contains(PageFlags::GUP)).await
}

/// The child gets a copy at once; the parent's entry becomes writable again, and with it the page
/// stays the pinner's.
async fn copy_pinned_page(cx: Cx<'_>, entry: Entry, page: mmu::Pfn) -> Result<Copied, Errno> {
    let _span = cx.machine.span("fork_pre_cow");
    let Some(new) = alloc_page(cx).await else {
        page_remove_rmap(cx, page).await;
        put_page(cx, page, Holder::Mapping).await;
        return Err(Errno::ENOMEM);
    };
    copy_page(cx, new, page).await;
    page_add_new_anon_rmap(cx, new, entry.child, entry.va.page().get()).await;
    pass_reference(cx, new, Holder::Hand, Holder::Mapping);
    set_pte_at(
        cx,
        entry.child,
        entry.va,
        entry.target,
        user_pte(new, entry.rules.may_write, true),
    )
    .await;
    if entry.writable {
        update_pte(cx, entry.parent, entry.va, entry.source, |pte| {
            pte.with(PteFlags::W)
        })
        .await;
    }
    page_remove_rmap(cx, page).await;
    if cx.ask(|patch| patch.fork_copy_leaks()) != Some(true) {
        put_page(cx, page, Holder::Mapping).await;
    }
    cx.count("pages copied at fork", 1);
    Ok(Copied::Done)
}
