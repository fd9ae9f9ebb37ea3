//! `lifetime`: a freed frame is used, or mapped.

use emu::{Object, Touch};
use mmu::{Pfn, VirtAddr};

use super::footprint::touch_frame;
use super::{Change, Oracles};
use crate::page::PageFlags;
use crate::{Holder, Kernel, MmId};

const ORACLE: &str = "lifetime";
const WORD: &str = "UAF";

impl Oracles {
    /// A frame is free from now on.
    pub fn frame_freed(&self, cx: &Kernel<'_>, pfn: Pfn) {
        touch_frame(cx, pfn, Touch::Write);
        let stamp = self.tlb.frame_freed();
        let mut frames = self.frames.borrow_mut();
        let note = frames.of(pfn);
        note.freed_stamp = stamp;
        note.freed = Some(Change::now(cx));
    }

    /// A free frame is somebody's.
    pub fn frame_allocated(&self, cx: &Kernel<'_>, pfn: Pfn) {
        touch_frame(cx, pfn, Touch::Write);
        self.frames.borrow_mut().allocated(pfn, cx.machine.steps());
    }

    /// A free huge page is somebody's: what was known of its frames is not of this content.
    pub fn huge_page_allocated(&self, cx: &Kernel<'_>, head: Pfn, frames: u32) {
        self.frame_allocated(cx, head);
        let step = cx.machine.steps();
        let mut notes = self.frames.borrow_mut();
        for tail in (1..frames).map(|frame| head + frame) {
            if notes.get(tail).is_some() {
                notes.allocated(tail, step);
            }
        }
    }

    /// The last reference to a frame was given back while entries map it.
    pub fn freed_while_mapped(&self, cx: &Kernel<'_>, pfn: Pfn) {
        let mapcount = cx.pages.borrow().get(pfn).map_or(0, |page| page.mapcount);
        let message = format!(
            "{} gave back the last reference to frame {pfn}, and the frame was freed, while its \
             map count is {mapcount}",
            Change::now(cx)
        );
        self.report_frame(cx, pfn, message);
    }

    /// Somebody takes a reference; the count has not changed yet.
    #[inline]
    pub fn reference_taken(&self, cx: &Kernel<'_>, pfn: Pfn, holder: Holder) {
        let step = cx.machine.steps();
        self.frames.borrow_mut().of(pfn).taken[holder as usize] = step;
        if is_free(cx, pfn) {
            let message = format!(
                "{} took a reference ({}) to frame {pfn}, which is free: {}",
                Change::now(cx),
                holder_name(holder),
                self.who_freed(pfn)
            );
            self.report_frame(cx, pfn, message);
        }
    }

    /// An entry of `mm` maps `pfn` from now on.
    pub(super) fn check_mapped(&self, cx: &Kernel<'_>, mm: MmId, va: VirtAddr, pfn: Pfn) {
        if is_free(cx, pfn) {
            let message = format!(
                "{} mapped frame {pfn} at address {va} of process {}, but the frame is free: {}",
                Change::now(cx),
                cx.pid_of(mm),
                self.who_freed(pfn)
            );
            self.report_frame(cx, pfn, message);
        }
    }

    /// The disk moved a sector to or from `pfn`.
    pub(super) fn check_transferred(&self, cx: &Kernel<'_>, pfn: Pfn, sector: u32, request: u32) {
        if is_free(cx, pfn) {
            let message = format!(
                "the disk moved sector {sector} of request {request} while its frame {pfn} is \
                 free: {}",
                self.who_freed(pfn)
            );
            self.report_frame(cx, pfn, message);
        }
    }

    /// Who freed a frame last, in words.
    pub(super) fn who_freed(&self, pfn: Pfn) -> String {
        let freed = self.frames.borrow().get(pfn).and_then(|note| note.freed);
        match freed {
            Some(change) => format!("{change} freed it"),
            None => "nobody has allocated it".to_string(),
        }
    }

    fn report_frame(&self, cx: &Kernel<'_>, pfn: Pfn, message: String) {
        let freed = self.frames.borrow().get(pfn).and_then(|note| note.freed);
        let since = freed.map_or(0, |change| change.step);
        cx.machine
            .violate(ORACLE, WORD, message, vec![Object::page(pfn)], since);
    }
}

/// Whether nobody may use the frame.
fn is_free(cx: &Kernel<'_>, pfn: Pfn) -> bool {
    let pfn = cx.compound_head(pfn);
    cx.pages
        .borrow()
        .get(pfn)
        .is_none_or(|page| page.count <= 0 && !page.flags.contains(PageFlags::RESERVED))
}

/// What a holder is called in messages.
pub(super) fn holder_name(holder: Holder) -> &'static str {
    match holder {
        Holder::Mapping => "a mapping",
        Holder::Pin => "a pin",
        Holder::Hand => "a path in hand",
        Holder::Cache => "a cache",
        Holder::Patch => "a patch",
        Holder::Batch => "a CPU's batch",
    }
}
