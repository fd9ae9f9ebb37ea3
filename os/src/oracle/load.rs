//! `shadow-memory`: a load returns what neither program order nor a completed request explains.

use emu::{Kind, Object};
use mmu::{Pfn, PhysAddr, VirtAddr, walk};

use super::Oracles;
use super::shadow::{ShadowPage, index_of};
use crate::{Kernel, MmId};

impl Kernel<'_> {
    /// The frame that an address space's tables map at `va`, if any.
    pub(super) fn frame_at(&self, mm: MmId, va: VirtAddr) -> Option<Pfn> {
        let root = self.mms.borrow().get(mm)?.root;
        let (_, pte) = walk::lookup(&self.machine.memory(), root, va)?;
        pte.present().then(|| pte.pfn())
    }
}

impl Oracles {
    /// User mode has just loaded `len` bytes within a sector.
    #[inline]
    pub fn loaded(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, len: usize, pa: PhysAddr) {
        let shadow = self.shadow.borrow();
        let Some(space) = shadow.spaces.get(mm) else {
            return;
        };
        let memory = cx.machine.memory();
        let read = memory.bytes(pa, len);
        let page = space.get(index_of(va));
        let right = match page {
            Some(page) => same(read, &page.bytes[va.offset()..va.offset() + len]),
            None => read.iter().all(|byte| *byte == 0),
        };
        if !right {
            let wrong = self.unexplained(mm, va, read, page);
            drop((shadow, memory));
            self.report_load(cx, mm, va, pa, &wrong);
        }
    }

    /// The bytes that nothing explains: offset, what was read, what should have been.
    #[cold]
    fn unexplained(
        &self,
        mm: MmId,
        va: VirtAddr,
        read: &[u8],
        page: Option<&ShadowPage>,
    ) -> Vec<(u64, u8, u8)> {
        let requests = self.in_flight.borrow();
        let mut wrong = Vec::new();
        for (at, byte) in read.iter().copied().enumerate() {
            let offset = va.offset() + at;
            let expected = page.map_or(0, |page| page.bytes[offset]);
            let judged = page.is_none_or(|page| page.judged(offset));
            let va = va + at as u64;
            if byte != expected && judged && !requests.explains(mm, va, byte) {
                wrong.push((at as u64, byte, expected));
            }
        }
        wrong
    }

    #[cold]
    fn report_load(
        &self,
        cx: &Kernel<'_>,
        mm: MmId,
        va: VirtAddr,
        pa: PhysAddr,
        wrong: &[(u64, u8, u8)],
    ) {
        let Some((first, byte, expected)) = wrong.first().copied() else {
            return;
        };
        let mut focus = vec![Object::sector(pa)];
        let mut since = 0;
        let why = match self.in_flight.borrow().completed_over(mm, va + first) {
            Some(done) => {
                focus.push(Object::new(Kind::Request, u64::from(done.io)));
                since = done.submitted;
                format!(
                    "request {}, complete at step {}, and stores since should have left \
                     {expected:#04x}",
                    done.io, done.step
                )
            }
            None => format!("its own stores should have left {expected:#04x}"),
        };
        let message = format!(
            "process {} on {} loads {byte:#04x} at {}, where {why}; the byte is in frame {} and {}",
            cx.pid_of(mm),
            cx.machine.cpu(),
            va + first,
            pa.pfn(),
            self.writer(pa),
        );
        focus.push(Object::page(pa.pfn()));
        cx.machine.violate("shadow-memory", "CORRUPT", message, focus, since);
        // Once for each place: from now on what was read is what is there.
        if let Some(space) = self.shadow.borrow_mut().spaces.get_mut(mm) {
            for (at, byte, _) in wrong {
                space.edit(index_of(va)).bytes[va.offset() + *at as usize] = *byte;
            }
        }
    }
}

/// Equality of short slices without a call.
#[inline]
fn same(one: &[u8], other: &[u8]) -> bool {
    match (one, other) {
        ([a, b, c, d], [e, f, g, h]) => [a, b, c, d] == [e, f, g, h],
        _ => match (<[u8; 8]>::try_from(one), <[u8; 8]>::try_from(other)) {
            (Ok(one), Ok(other)) => u64::from_le_bytes(one) == u64::from_le_bytes(other),
            _ => one == other,
        },
    }
}
