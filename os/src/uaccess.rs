//! User memory, as instructions of user mode touch it: through the TLB of the CPU, a walk when
//! the TLB misses, and a fault when the walk fails. A TLB fill and the access it serves are one
//! instruction, so one step.

use emu::{Access, Acting, Leave, Object, Request, Touch, Word};
use mmu::walk::{AccessKind, FaultKind, walk};
use mmu::{PhysAddr, PteFlags, TlbEntry, TlbLevel, VirtAddr};

use crate::mm::MmId;
use crate::task::{ExitStatus, Signal};
use crate::{Cx, Errno, exit, fault};

/// The translation that an access needs is missing or too weak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageFault;

impl Word for PageFault {
    fn word(&self) -> u64 {
        0
    }
}

/// Translates as the hardware does. Called within the step that makes the access.
#[inline(always)]
fn translate<'w>(
    cx: Cx<'w>,
    acting: &Acting<'w, 'w>,
    mm: MmId,
    va: VirtAddr,
    write: bool,
) -> Result<PhysAddr, PageFault> {
    let cpu = acting.cpu();
    let (_, asid) = cx.machine.root(cpu);
    let need = if write {
        PteFlags::W | PteFlags::D
    } else {
        PteFlags::R
    };
    let mut tlb = cx.machine.tlb(cpu);
    if let Some(entry) = tlb.hit(asid, va.page(), need) {
        cx.oracles.translated(cx, cpu, mm, entry, va, write);
        return Ok(entry.translate(va));
    }
    drop(tlb);
    translate_further(cx, acting, mm, va, write, need)
}

#[inline(never)]
fn translate_further<'w>(
    cx: Cx<'w>,
    acting: &Acting<'w, 'w>,
    mm: MmId,
    va: VirtAddr,
    write: bool,
    need: PteFlags,
) -> Result<PhysAddr, PageFault> {
    let cpu = acting.cpu();
    let (root, asid) = cx.machine.root(cpu);
    let mut tlb = cx.machine.tlb(cpu);
    if let Some((entry, level)) = tlb.lookup(asid, va.page()) {
        if entry.flags.contains(need) {
            if level == TlbLevel::Second {
                acting.charge(u64::from(cx.machine.costs().tlb_l2_hit));
            }
            cx.oracles.translated(cx, cpu, mm, entry, va, write);
            return Ok(entry.translate(va));
        }
        // Too weak: the hardware drops it and walks.
        tlb.flush_page(asid, va.page());
    }
    drop(tlb);
    let root = root.expect("a task in user mode has a root table");
    fill(cx, acting, root, asid, va, write)
}

#[inline(never)]
fn fill<'w>(
    cx: Cx<'w>,
    acting: &Acting<'w, 'w>,
    root: mmu::Pfn,
    asid: u16,
    va: VirtAddr,
    write: bool,
) -> Result<PhysAddr, PageFault> {
    let costs = cx.machine.costs();
    let cpu = acting.cpu();
    let kind = if write {
        AccessKind::Write
    } else {
        AccessKind::Read
    };
    let mut cache = cx.machine.walk_cache(cpu);
    let marks = cx.machine.tracking() && cx.oracles.walk_marks(cx, root, va, write);
    let walked = walk(&mut acting.memory(), root, va, kind, true, &mut cache);
    drop(cache);
    if cx.machine.tracking() {
        cx.oracles.touch_walk(cx, root, va, marks);
    }
    let found = match walked {
        Ok(found) => found,
        Err(missed) => {
            let full = missed.kind == FaultKind::NotPresent;
            acting.charge(u64::from(if full {
                costs.walk_full
            } else {
                costs.walk_cached
            }));
            return Err(PageFault);
        }
    };
    acting.charge(u64::from(if found.levels_read > 1 {
        costs.walk_full
    } else {
        costs.walk_cached
    }));
    let entry = TlbEntry {
        vpn: va.page(),
        asid,
        pfn: found.pfn,
        size: found.size,
        flags: found.pte.flags(),
        filled: cx.oracles.filled_stamp(),
        verified: cx.oracles.verified_stamp(),
    };
    cx.machine.tlb(cpu).fill(entry);
    Ok(found.pfn.base() + va.offset() as u64)
}

/// How many bytes an access is of. That of a word is known to the compiler.
pub trait Length: Copy {
    /// Bytes.
    fn bytes(self) -> usize;
}

/// A word of so many bytes.
#[derive(Clone, Copy)]
pub struct WordOf<const BYTES: usize>;

impl<const BYTES: usize> Length for WordOf<BYTES> {
    #[inline(always)]
    fn bytes(self) -> usize {
        BYTES
    }
}

impl Length for usize {
    #[inline(always)]
    fn bytes(self) -> usize {
        self
    }
}

/// One instruction of user mode that touches memory within one 512-byte sector. `act` gets the
/// bytes; it may be tried again after a fault, so it is `Fn`.
pub async fn access<'w, R: Word>(
    cx: Cx<'w>,
    va: VirtAddr,
    len: impl Length,
    access: Access,
    act: impl Fn(&mut [u8]) -> R,
) -> R {
    debug_assert!(va.offset() % mmu::SECTOR_SIZE + len.bytes() <= mmu::SECTOR_SIZE);
    loop {
        // What seldom happens is boxed: each access would be as big as a fault, and a program as
        // big as that.
        if attention(cx) {
            Box::pin(return_to_user(cx)).await;
        }
        let request = Request::user(va.get(), access, cx.machine.costs().l1);
        let done = cx
            .machine
            .step(request, |acting| {
                try_access(cx, acting, va, len.bytes(), access, &act)
            })
            .await;
        match done {
            Ok(result) => return result,
            Err(PageFault) => Box::pin(serve(cx, va, access.writes())).await,
        }
    }
}

/// Makes the page accessible, or ends the process.
async fn serve(cx: Cx<'_>, va: VirtAddr, write: bool) {
    if fault::do_page_fault(cx, va, write).await.is_err() {
        die(cx, Signal::Segv).await;
    }
}

#[inline(always)]
fn try_access<'w, R>(
    cx: Cx<'w>,
    acting: &Acting<'w, 'w>,
    va: VirtAddr,
    len: usize,
    access: Access,
    act: &impl Fn(&mut [u8]) -> R,
) -> Result<R, PageFault> {
    let write = access.writes();
    let mm = cx.percpu[acting.cpu().0 as usize]
        .active_mm
        .get()
        .expect("a task in user mode has an address space");
    let pa = translate(cx, acting, mm, va, write)?;
    acting.resolve(Object::sector(pa));
    if cx.machine.tracking() {
        cx.oracles.touch_user(cx, mm, va, Touch::from(access), pa);
        cx.touch_bytes(pa.pfn());
    }
    if access != Access::Write {
        let memory = cx.machine.memory();
        let bytes = memory.bytes(pa, len);
        cx.oracles.loaded(cx, mm, va, bytes, pa);
        if !write {
            return Ok(load(bytes, act));
        }
    }
    let mut memory = acting.memory();
    let bytes = memory.bytes_mut(pa, len);
    let result = act(bytes);
    cx.oracles.stored(cx, mm, va, bytes, pa);
    Ok(result)
}

#[inline(always)]
fn load<R>(bytes: &[u8], act: &impl Fn(&mut [u8]) -> R) -> R {
    let len = bytes.len();
    if len <= 8 {
        let mut copy = [0; 8];
        copy[..len].copy_from_slice(bytes);
        act(&mut copy[..len])
    } else {
        let mut copy = [0; mmu::SECTOR_SIZE];
        copy[..len].copy_from_slice(bytes);
        act(&mut copy[..len])
    }
}

/// Whether something waits for this CPU's return to user mode.
#[inline]
fn attention(cx: Cx<'_>) -> bool {
    cx.machine.need_resched(cx.machine.cpu()) || cx.kills_pending.get() > 0
}

/// What happens on the way back to user mode: signals that end the process, a task switch.
pub async fn return_to_user(cx: Cx<'_>) {
    let task = cx.current();
    if cx.tasks.borrow()[task].killed {
        let process = cx.tasks.borrow()[task].process;
        let status = cx.processes.borrow()[process].exit;
        leave_for_good(cx, status.unwrap_or(ExitStatus::Signaled(Signal::Kill))).await;
    }
    if cx.machine.need_resched(cx.machine.cpu()) {
        cx.machine.leave(Leave::Preempt).await;
    }
}

/// A signal ends the process.
pub async fn die(cx: Cx<'_>, signal: Signal) {
    leave_for_good(cx, ExitStatus::Signaled(signal)).await;
}

/// The user program is dropped where it stands, and the task leaves through the kernel. Never
/// returns.
pub async fn leave_for_good(cx: Cx<'_>, status: ExitStatus) {
    let thread = cx.current_thread();
    cx.machine
        .replace_code(thread, Box::pin(exit::do_group_exit(cx, status)));
    std::future::pending::<()>().await;
}

/// Reads a word for a system call (`get_user`).
pub async fn get_user_u32(cx: Cx<'_>, at: VirtAddr) -> Result<u32, Errno> {
    if !at.get().is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    loop {
        let mm = cx.current_mm();
        let request = Request::touch(
            Object::new(emu::Kind::User, at.get()),
            Access::Read,
            cx.machine.costs().l1,
        );
        let done = cx
            .machine
            .step(request, |acting| {
                let pa = translate(cx, acting, mm, at, false)?;
                acting.resolve(Object::sector(pa));
                if cx.machine.tracking() {
                    cx.oracles.touch_user(cx, mm, at, Touch::Read, pa);
                    cx.touch_bytes(pa.pfn());
                }
                let memory = cx.machine.memory();
                let bytes = memory.bytes(pa, 4);
                cx.oracles.loaded(cx, mm, at, bytes, pa);
                let word = bytes.try_into().expect("four bytes");
                Ok::<u32, PageFault>(u32::from_le_bytes(word))
            })
            .await;
        match done {
            Ok(value) => return Ok(value),
            Err(PageFault) => fault::do_page_fault(cx, at, false).await?,
        }
    }
}
