//! `snapshot`: each page of a child equals the parent's page at one instant while fork ran, as far
//! as stores of the parent's threads go.
//!
//! Between [`Oracles::fork_begin`] and [`Oracles::fork_end`] the parent's stores leave what they
//! replaced in a log. At the end, each page with an entry in the log is compared with every
//! version that the log can rebuild. Other pages are the parent's and are not looked at.
//!
//! Bytes that a write pin of the parent covered while fork ran are unspecified in the child: no
//! flush stops a device. A pin that precedes the end of fork, whose transfer is queued after it,
//! counts: its bytes become unspecified when the transfer is queued.

use std::rc::Rc;

use emu::{Object, Touch};
use mmu::{PAGE_SIZE, Pfn, VirtAddr, walk};

use super::footprint::{Watched, touch_space};
use super::spaces::{ByteSet, ShadowPage, ZEROS, has_byte, page_address, page_index};
use super::{Change, Oracles, counted};
use crate::{Kernel, MmId, Vma};

/// What a store replaced.
struct Undo {
    page: usize,
    offset: usize,
    bytes: Vec<u8>,
    by: Change,
}

/// A fork under way.
struct Window {
    parent: MmId,
    begun: u64,
    undo: Vec<Undo>,
    /// Ranges that the disk may write to.
    pinned: Vec<(VirtAddr, usize)>,
}

/// A fork that is over, while parent and child live.
struct Fork {
    parent: MmId,
    child: MmId,
    ended: u64,
}

/// The forks under way, and those over.
#[derive(Default)]
pub(super) struct Windows {
    all: Vec<Window>,
    over: Vec<Fork>,
}

impl Windows {
    pub fn open(&self) -> usize {
        self.all.len()
    }

    pub fn clear(&mut self) {
        self.all.clear();
        self.over.clear();
    }

    pub fn drop_space(&mut self, mm: MmId) {
        self.all.retain(|it| it.parent != mm);
        self.over.retain(|it| it.parent != mm && it.child != mm);
    }

    /// Whether `mm` forks.
    pub fn has(&self, mm: MmId) -> bool {
        self.all.iter().any(|it| it.parent == mm)
    }

    /// A store replaces `old`.
    pub fn changing(&mut self, mm: MmId, va: VirtAddr, old: &[u8], by: Change) {
        let Some(page) = page_index(va) else { return };
        for window in self.all.iter_mut().filter(|it| it.parent == mm) {
            window.undo.push(Undo {
                page,
                offset: va.offset(),
                bytes: old.to_vec(),
                by,
            });
        }
    }

    /// The disk may write to a range of `mm` from now on.
    pub fn pinned(&mut self, mm: MmId, va: VirtAddr, len: usize) {
        for window in self.all.iter_mut().filter(|it| it.parent == mm) {
            window.pinned.push((va, len));
        }
    }
}

impl Oracles {
    /// Fork begins to copy the address space of `parent`.
    pub fn fork_begin(&self, cx: &Kernel<'_>, parent: MmId) {
        touch_space(cx, parent, Watched::Forks, Touch::Write);
        let pinned = self
            .transfers
            .borrow()
            .iter()
            .filter(|it| it.to_memory && it.mm == parent)
            .flat_map(|it| &it.pieces)
            .map(|piece| (piece.va, piece.len))
            .collect();
        self.windows.borrow_mut().all.push(Window {
            parent,
            begun: cx.machine.steps(),
            undo: Vec::new(),
            pinned,
        });
        self.count_watched();
    }

    /// Fork has copied the address space: the child's memory is the parent's of one instant.
    pub fn fork_end(&self, cx: &Kernel<'_>, parent: MmId, child: MmId) {
        touch_space(cx, parent, Watched::Forks, Touch::Write);
        touch_space(cx, child, Watched::Forks, Touch::Write);
        let window = {
            let mut windows = self.windows.borrow_mut();
            windows.over.push(Fork {
                parent,
                child,
                ended: cx.machine.steps(),
            });
            let at = windows.all.iter().position(|it| it.parent == parent);
            at.map(|at| windows.all.remove(at))
        };
        self.count_watched();
        let Some(window) = window else { return };
        let mms = cx.mms.borrow();
        let Some(mm) = mms.get(child) else { return };
        {
            let mut spaces = self.spaces.borrow_mut();
            spaces.fork(parent, child, mm.pid, mm.vmas.values().filter_map(pages_of));
            let made = spaces.of(child, || mm.pid);
            for (va, len) in &window.pinned {
                if mm.find_vma(*va).is_some() {
                    made.loosen(*va, *len);
                }
            }
        }
        let mut pages: Vec<usize> = window.undo.iter().map(|undo| undo.page).collect();
        pages.sort_unstable();
        pages.dedup();
        for page in pages {
            if mm.find_vma(page_address(page)).is_some() {
                self.compare_child(cx, &window, child, page);
            }
        }
    }

    /// A transfer to memory is queued for pages of `mm`: children that were forked since the pin
    /// and still have the frame may see it.
    pub(super) fn pinned_for_disk(
        &self,
        cx: &Kernel<'_>,
        mm: MmId,
        va: VirtAddr,
        pfn: Pfn,
        len: usize,
    ) {
        let mut windows = self.windows.borrow_mut();
        windows.pinned(mm, va, len);
        if windows.over.is_empty() {
            return;
        }
        let pinned = self.frames.borrow().taken(pfn, crate::Holder::Pin);
        for fork in windows
            .over
            .iter()
            .filter(|it| it.parent == mm && it.ended >= pinned)
        {
            let root = cx.mms.borrow().get(fork.child).map(|mm| mm.root);
            let shares = root.is_some_and(|root| {
                walk::lookup_frame(&cx.machine.memory(), root, va)
                    .is_some_and(|(_, pte, mapped)| pte.is_leaf() && mapped == pfn)
            });
            if shares {
                let mut spaces = self.spaces.borrow_mut();
                spaces.of(fork.child, || 0).loosen(va, len);
            }
        }
    }

    /// Finds the version of the parent's page that the child has, and reports if there is none.
    fn compare_child(&self, cx: &Kernel<'_>, window: &Window, child: MmId, page: usize) {
        let va = page_address(page);
        let (frame, actual) = content(cx, child, va);
        let mut spaces = self.spaces.borrow_mut();
        let newest = spaces
            .get(window.parent)
            .map_or(ZEROS, |space| *space.bytes(va));
        let space = spaces.of(child, || cx.pid_of(child));
        let unspecified = space.unspecified(page);
        let undo: Vec<&Undo> = window
            .undo
            .iter()
            .filter(|undo| undo.page == page)
            .collect();
        let found = find_version(&newest, &undo, &actual, unspecified.as_deref());
        let (bytes, torn) = match found {
            Ok(version) => (version, None),
            Err(torn) => (actual, Some(torn)),
        };
        if bytes != newest {
            let mut made = ShadowPage::new(bytes);
            made.unspecified = unspecified;
            space.set(page, Rc::new(made));
        }
        let pids = (
            space.pid,
            spaces.get(window.parent).map_or(0, |space| space.pid),
        );
        drop(spaces);
        if let Some(torn) = torn {
            self.report_torn(cx, window, va, frame, pids, &undo, &torn);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn report_torn(
        &self,
        cx: &Kernel<'_>,
        window: &Window,
        va: VirtAddr,
        frame: Option<Pfn>,
        (child, parent): (u32, u32),
        undo: &[&Undo],
        torn: &Torn,
    ) {
        let told = |at: Option<usize>| {
            let store = at.and_then(|at| undo.iter().rev().find(|it| it.covers(at)));
            let by = store.map_or_else(|| "fork".to_string(), |it| it.by.to_string());
            (at.unwrap_or(0), by)
        };
        let (old, old_by) = told(torn.old);
        let (new, new_by) = told(torn.new);
        let frame_name = frame.map_or("no frame".to_string(), |pfn| format!("frame {pfn}"));
        let message = format!(
            "page {va} of process {child} ({frame_name}) mixes two instants of its parent, process \
             {parent}, which made {} to it while fork ran (steps {} to {}): byte {old:#x} is as \
             before the store by {old_by}, byte {new:#x} is as after the store by {new_by}",
            counted(undo.len(), "store"),
            window.begun,
            cx.machine.steps(),
        );
        let mut focus: Vec<Object> = frame.map(Object::page).into_iter().collect();
        if let Some(mm) = cx.mms.borrow().get(window.parent) {
            let memory = cx.machine.memory();
            focus.extend(walk::lookup(&memory, mm.root, va).map(|(at, _)| Object::pte(at)));
        }
        cx.machine
            .violate("snapshot", "TORN", message, focus, window.begun);
    }
}

/// The pages of a mapping, as places in a shadow.
fn pages_of(vma: &Vma) -> Option<(usize, usize)> {
    let first = page_index(vma.start)?;
    let pages = ((vma.end - vma.start) as usize).div_ceil(PAGE_SIZE);
    Some((first, first + pages))
}

impl Undo {
    fn covers(&self, at: usize) -> bool {
        (self.offset..self.offset + self.bytes.len()).contains(&at)
    }
}

/// What a page holds, in the frame that it maps or in swap.
fn content(cx: &Kernel<'_>, mm: MmId, va: VirtAddr) -> (Option<Pfn>, [u8; PAGE_SIZE]) {
    let mut bytes = ZEROS;
    let frame = Oracles::contents(cx, mm, va).map(|at| at.pfn());
    if let Some(pfn) = frame {
        bytes.copy_from_slice(cx.machine.memory().bytes(pfn.base(), PAGE_SIZE));
    }
    (frame, bytes)
}

/// Bytes that tell two instants apart.
#[derive(Debug, PartialEq, Eq)]
struct Torn {
    /// The first byte that is not the newest.
    old: Option<usize>,
    /// The first byte that is newer than the oldest.
    new: Option<usize>,
}

/// The newest version of the page that `actual` is, but for the bytes of `except`.
fn find_version(
    newest: &[u8; PAGE_SIZE],
    undo: &[&Undo],
    actual: &[u8; PAGE_SIZE],
    except: Option<&ByteSet>,
) -> Result<[u8; PAGE_SIZE], Torn> {
    let first_difference = |version: &[u8; PAGE_SIZE]| {
        if version == actual {
            return None;
        }
        (0..PAGE_SIZE).find(|&at| version[at] != actual[at] && !has_byte(except, at))
    };
    let mut version = *newest;
    let old = first_difference(&version);
    if old.is_none() {
        return Ok(version);
    }
    for store in undo.iter().rev() {
        version[store.offset..store.offset + store.bytes.len()].copy_from_slice(&store.bytes);
        if first_difference(&version).is_none() {
            return Ok(version);
        }
    }
    Err(Torn {
        old,
        new: first_difference(&version),
    })
}

#[cfg(test)]
mod tests {
    use emu::CpuId;
    use proptest::prelude::*;

    use super::super::spaces::add_bytes;
    use super::*;

    fn undo(offset: usize, bytes: &[u8]) -> Undo {
        Undo {
            page: 0,
            offset,
            bytes: bytes.to_vec(),
            by: Change {
                step: 1,
                cpu: CpuId(0),
                by: "user mode",
            },
        }
    }

    /// Versions of a page that starts as zeros and gets these stores, and their log.
    fn versions(stores: &[(usize, u8)]) -> (Vec<[u8; PAGE_SIZE]>, Vec<Undo>) {
        let mut all = vec![ZEROS];
        let mut log = Vec::new();
        for (at, byte) in stores {
            let mut next = all[all.len() - 1];
            log.push(undo(*at, &[next[*at]]));
            next[*at] = *byte;
            all.push(next);
        }
        (all, log)
    }

    proptest! {
        #[test]
        fn every_instant_is_found(stores in prop::collection::vec((0usize..8, 1u8..5), 1..12)) {
            let (all, log) = versions(&stores);
            let log: Vec<&Undo> = log.iter().collect();
            for version in &all {
                prop_assert_eq!(find_version(&all[all.len() - 1], &log, version, None), Ok(*version));
            }
        }
    }

    #[test]
    fn a_mix_of_two_instants_is_torn_unless_the_difference_is_unspecified() {
        let (all, log) = versions(&[(100, 1), (3000, 2)]);
        let log: Vec<&Undo> = log.iter().collect();
        // The second store without the first.
        let mut mixed = ZEROS;
        mixed[3000] = 2;
        let torn = Torn {
            old: Some(100),
            new: Some(3000),
        };
        assert_eq!(find_version(&all[2], &log, &mixed, None), Err(torn));
        let mut except = [0; PAGE_SIZE / 64];
        add_bytes(&mut except, 100, 1);
        assert!(find_version(&all[2], &log, &mixed, Some(&except)).is_ok());
    }
}
