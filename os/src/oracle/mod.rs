//! Oracles (stand-in while the real ones land; lead's stub, overwrite freely).
use devices::Moved;
use emu::CpuId;
use mmu::{Pfn, PhysAddr, Pte, TlbEntry, VirtAddr};
use crate::{Holder, Kernel, MmId, flush::FlushRange};
/// Stub.
#[derive(Default)]
pub struct Oracles;
/// Stub.
pub struct Promise;
#[allow(missing_docs, unused)]
impl Oracles {
    pub fn new() -> Self { Oracles }
    pub fn remember(&self) {}
    pub fn reset(&self) {}
    pub fn mapped(&self, cx: &Kernel<'_>, mm: MmId, at: VirtAddr, len: u64) {}
    pub fn unmapped(&self, cx: &Kernel<'_>, mm: MmId, at: VirtAddr, len: u64) {}
    pub fn dontneed(&self, cx: &Kernel<'_>, mm: MmId, at: VirtAddr, len: u64) {}
    pub fn address_space_gone(&self, cx: &Kernel<'_>, mm: MmId) {}
    pub fn stored(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, len: usize, pa: PhysAddr) {}
    pub fn loaded(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, len: usize, pa: PhysAddr) {}
    pub fn translated(&self, cx: &Kernel<'_>, cpu: CpuId, mm: MmId, e: &mut TlbEntry, va: VirtAddr, w: bool) {}
    pub fn filled_stamp(&self) -> u64 { 0 }
    pub fn verified_stamp(&self) -> u64 { 0 }
    pub fn entry_changed(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, old: Pte, new: Pte) {}
    pub fn flush_begin(&self, cx: &Kernel<'_>, mm: MmId, range: FlushRange) -> Promise { Promise }
    pub fn flush_end(&self, cx: &Kernel<'_>, p: Promise) {}
    pub fn frame_freed(&self, cx: &Kernel<'_>, pfn: Pfn) {}
    pub fn frame_allocated(&self, cx: &Kernel<'_>, pfn: Pfn) {}
    pub fn freed_while_mapped(&self, cx: &Kernel<'_>, pfn: Pfn) {}
    pub fn reference_taken(&self, cx: &Kernel<'_>, pfn: Pfn, holder: Holder) {}
    pub fn reference_dropped_badly(&self, cx: &Kernel<'_>, pfn: Pfn, holder: Holder) {}
    pub fn mapcount_negative(&self, cx: &Kernel<'_>, pfn: Pfn) {}
    pub fn sector_copied(&self, to: PhysAddr, from: PhysAddr) {}
    pub fn fork_begin(&self, cx: &Kernel<'_>, parent: MmId) {}
    pub fn fork_end(&self, cx: &Kernel<'_>, parent: MmId, child: MmId) {}
    pub fn io_submitted(&self, cx: &Kernel<'_>, io: u32, mm: MmId, segments: &[(VirtAddr, PhysAddr, u32)], to_memory: bool, lba: u64, slot: usize) {}
    pub fn sector_moved(&self, cx: &Kernel<'_>, slot: usize, moved: &Moved) {}
    pub fn io_completed(&self, cx: &Kernel<'_>, io: u32) {}
    pub fn quiesce(&self, cx: &Kernel<'_>) {}
}
