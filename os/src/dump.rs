//! The state of the machine in words, for `replay --dump` and for snapshots.

use std::fmt::Write;

use emu::CpuId;
use mmu::walk;

use crate::Kernel;
use crate::page::PageFlags;
use crate::task::TaskState;

/// What can be dumped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dump {
    /// Bookkeeping of frames.
    Pages,
    /// Live TLB entries of each CPU.
    Tlb,
    /// Page tables of each address space.
    Tables,
    /// Locks held or waited for.
    Locks,
    /// Run queues, sleepers, the disk's requests.
    Queue,
}

impl Dump {
    /// Every kind, with its name on the command line.
    pub const ALL: [(&'static str, Dump); 5] = [
        ("pages", Dump::Pages),
        ("tlb", Dump::Tlb),
        ("tables", Dump::Tables),
        ("locks", Dump::Locks),
        ("queue", Dump::Queue),
    ];
}

impl Kernel<'_> {
    /// The state asked for, a line for each thing.
    pub fn dump(&self, what: Dump) -> String {
        let mut text = String::new();
        match what {
            Dump::Pages => self.dump_pages(&mut text),
            Dump::Tlb => self.dump_tlbs(&mut text),
            Dump::Tables => self.dump_tables(&mut text),
            Dump::Locks => text.extend(
                self.machine
                    .dump_locks()
                    .iter()
                    .map(|line| format!("{line}\n")),
            ),
            Dump::Queue => self.dump_queues(&mut text),
        }
        text
    }

    fn dump_pages(&self, text: &mut String) {
        for (pfn, page) in self.pages.borrow().iter() {
            if page.count == 0 || page.flags.contains(PageFlags::TABLE) {
                continue;
            }
            let flags: Vec<_> = page.flags.iter_names().map(|(name, _)| name).collect();
            let _ = writeln!(
                text,
                "frame {pfn}: count {} mapcount {} [{}] index {:#x}",
                page.count,
                page.mapcount,
                flags.join(" "),
                page.index
            );
        }
    }

    fn dump_tlbs(&self, text: &mut String) {
        for cpu in (0..self.machine.size().cpus).map(CpuId) {
            let mut lines: Vec<String> = self
                .machine
                .tlb(cpu)
                .entries()
                .map(|entry| entry.to_string())
                .collect();
            lines.sort();
            for line in lines {
                let _ = writeln!(text, "{cpu}: {line}");
            }
        }
    }

    fn dump_tables(&self, text: &mut String) {
        let memory = self.machine.memory();
        for mm in self.mms.borrow().values() {
            walk::for_each_leaf(&memory, mm.root, |va, _, pte| {
                let _ = writeln!(text, "process {}: {va} -> {pte}", mm.pid);
            });
        }
    }

    fn dump_queues(&self, text: &mut String) {
        let name = |thread| {
            self.task_of(thread, |task| task.name.to_string())
                .unwrap_or_else(|| "?".to_string())
        };
        for cpu in (0..self.machine.size().cpus).map(CpuId) {
            let rq = self.rq(cpu).borrow();
            let queue: Vec<String> = rq.queue.iter().map(|thread| name(*thread)).collect();
            let running = self.machine.running(cpu).map_or("idle".to_string(), name);
            let _ = writeln!(text, "{cpu}: {running}; queue [{}]", queue.join(", "));
        }
        for task in self.tasks.borrow().values() {
            if let TaskState::Sleeping(what) = task.state {
                let _ = writeln!(text, "{} sleeps in {what}", task.name);
            }
        }
        for dio in self.requests.borrow().iter() {
            let _ = writeln!(
                text,
                "request {}: {} bytes, {} pages pinned, {} transfers under way",
                dio.number,
                dio.len,
                dio.pages.len(),
                dio.bios
            );
        }
    }
}
