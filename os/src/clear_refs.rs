//! Soft-dirty tracking, as far as entries go: a process asks to be told of its stores from now on, and
//! every entry loses its write permission (`clear_refs_write`).

use crate::Cx;
use crate::flush::{FlushRange, flush_tlb_mm};
use crate::lock::{down_write, up_write};
use crate::mm::{find_entry, ptep_set_wrprotect, read_pte};
use crate::pin::may_be_pinned;

/// Write-protects every small page of the current address space, but those that may be pinned if a
/// patch says so. Nobody asks which pages are stored to afterwards: the software mark is left out.
pub async fn clear_refs_write(cx: Cx<'_>) {
    let _span = cx.machine.span("clear_refs_write");
    let mm = cx.current_mm();
    let sem = cx.mm(mm).mmap_sem;
    down_write(cx, sem).await;
    let keeps = cx.ask(|patch| patch.clear_refs_keeps_pinned()) == Some(true);
    let ranges: Vec<_> = {
        let mms = cx.mms.borrow();
        let vmas = mms[mm].vmas.values();
        vmas.map(|vma| (vma.start, vma.end)).collect()
    };
    for (start, end) in ranges {
        for page in 0..(end - start) / mmu::PAGE_SIZE as u64 {
            let va = start + page * mmu::PAGE_SIZE as u64;
            let Some(at) = find_entry(cx, mm, va).await else {
                continue;
            };
            let ptl = cx.machine.spin_lock(cx.mm(mm).ptl).await;
            let pte = read_pte(cx, at).await;
            if pte.is_leaf() && pte.writable() && !(keeps && may_be_pinned(cx, mm, pte.pfn()).await)
            {
                ptep_set_wrprotect(cx, mm, va, at).await;
            }
            ptl.unlock().await;
        }
    }
    flush_tlb_mm(cx, mm, FlushRange::All).await;
    up_write(cx, sem).await;
}
