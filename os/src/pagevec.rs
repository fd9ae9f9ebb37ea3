//! Per-CPU batches of new pages on their way to the lists of reclaim (`lru_add_pvecs`). A batch
//! holds a reference to each of its pages until it is drained: a reference that looks like any
//! other.

use emu::{Access, Kind, Object, Request};
use mmu::Pfn;

use crate::page::{Holder, PageFlags, put_page};
use crate::{Cx, page};

/// The batches. A size of 0 is off: then no path takes a step for them.
#[derive(Clone, Default)]
pub struct Batches {
    /// Pages that a batch takes before it is drained.
    pub size: usize,
    /// Each CPU's pages; only that CPU looks.
    pub waiting: Vec<Vec<Pfn>>,
}

impl Batches {
    /// References that the batches hold to a page.
    pub fn holds(&self, pfn: Pfn) -> i32 {
        let all = self.waiting.iter().flatten();
        all.filter(|one| **one == pfn).count() as i32
    }
}

/// A new page joins this CPU's batch (`lru_cache_add_active`).
pub async fn lru_cache_add(cx: Cx<'_>, pfn: Pfn) {
    let size = cx.batches.borrow().size;
    if size == 0 {
        return;
    }
    let request = Request::touch(Object::page(pfn), Access::Update, cx.machine.costs().l1);
    let full = cx
        .machine
        .step(request, |acting| {
            let cpu = acting.cpu();
            cx.machine.touch(batch_object(cpu), Access::Update);
            cx.oracles.reference_taken(cx, pfn, Holder::Batch);
            let mut pages = cx.pages.borrow_mut();
            let page = pages.get_mut(pfn);
            page.count += 1;
            page.held[Holder::Batch as usize] += 1;
            page.flags |= PageFlags::BATCHED;
            let batch = &mut cx.batches.borrow_mut().waiting[cpu.0 as usize];
            batch.push(pfn);
            batch.len() >= size
        })
        .await;
    if full {
        lru_add_drain(cx).await;
    }
}

/// Puts the pages of this CPU's batch on the lists, and gives their references back.
pub async fn lru_add_drain(cx: Cx<'_>) {
    if cx.batches.borrow().size == 0 {
        return;
    }
    let _span = cx.machine.span("lru_add_drain");
    let object = batch_object(cx.machine.cpu());
    let mut waiting = Vec::new();
    cx.machine
        .step(
            Request::touch(object, Access::Update, cx.machine.costs().l1),
            |acting| {
                let batch = &mut cx.batches.borrow_mut().waiting[acting.cpu().0 as usize];
                waiting = std::mem::take(batch);
                waiting.len() as u64
            },
        )
        .await;
    for pfn in waiting {
        page::page_step(cx, pfn, Access::Update, |page| {
            page.flags -= PageFlags::BATCHED;
        })
        .await;
        put_page(cx, pfn, Holder::Batch).await;
    }
}

fn batch_object(cpu: emu::CpuId) -> Object {
    Object::new(Kind::Batch, u64::from(cpu.0))
}
