//! Preparing a machine without steps: files, processes, touched memory, threads on their CPUs.

use std::rc::Rc;

use emu::{Code, CpuId};
use mmu::{VirtAddr, walk};

use crate::direct_io::Cut;
use crate::huge::HugeConfig;
use crate::mm::user_pte;
use crate::page::{Holder, PageFlags};
use crate::task::{Process, ProcessId, TaskState};
use crate::{Cx, Kernel, MmId, User};

/// Prepares a kernel. What it makes is remembered: every run starts from it.
pub struct Setup<'w> {
    cx: Cx<'w>,
}

/// A prepared thread: made anew for each run.
pub(crate) struct Starter<'w> {
    name: Rc<str>,
    process: ProcessId,
    mm: Option<MmId>,
    cpu: CpuId,
    make: Box<dyn Fn(User<'w>) -> Code<'w> + 'w>,
}

impl<'w> Starter<'w> {
    /// The thread is runnable on its CPU.
    pub(crate) fn start(&self, cx: Cx<'w>) {
        let code = (self.make)(User { cx });
        let thread = cx.new_task(Rc::clone(&self.name), self.process, self.mm, self.cpu, code);
        cx.change_task(thread, |task| task.state = TaskState::Runnable);
        cx.rq(self.cpu).borrow_mut().queue.push_back(thread);
    }
}

impl<'w> Kernel<'w> {
    /// Puts the kernel on its machine and lets `prepare` say what there is. Once.
    pub fn prepare(&'w self, prepare: impl FnOnce(&mut Setup<'w>)) {
        assert!(
            self.remembered.borrow().is_none(),
            "a kernel is prepared once"
        );
        self.machine.boot(self);
        if self.ask(|patch| patch.cow_direction()).is_some() {
            let lock = self.machine.new_lock(&crate::lock::ANON_VMA);
            self.swap.borrow_mut().anon_vma = Some(lock);
        }
        prepare(&mut Setup { cx: self });
        self.remember();
    }
}

impl<'w> Setup<'w> {
    /// A file of `size` bytes, each `fill`.
    pub fn file(&mut self, name: &str, size: u64, fill: u8) {
        let sectors = size.div_ceil(mmu::SECTOR_SIZE as u64).max(1);
        let lba = {
            let mut disk = self.cx.machine.disk();
            let lba = disk.alloc(sectors);
            disk.fill(lba, sectors, fill);
            lba
        };
        self.cx.files.borrow_mut().insert(crate::file::File {
            name: name.to_string(),
            size,
            lba,
        });
    }

    /// Direct I/O pins so many pages at a time, and cuts transfers at so many bytes.
    pub fn cut_direct_io(&mut self, batch_pages: usize, bio_bytes: u64) {
        assert!(batch_pages > 0 && bio_bytes > 0 && bio_bytes.is_multiple_of(512));
        self.cx.dio_cut.set(Cut {
            batch_pages,
            bio_bytes,
        });
    }

    /// A process whose main thread starts on `cpu`. The first one's exit status is the run's.
    pub fn process<F>(
        &mut self,
        name: &str,
        cpu: u16,
        main: impl Fn(User<'w>) -> F + 'w,
    ) -> ProcessId
    where
        F: Future<Output = i32> + 'w,
    {
        let process = self.empty_process(name);
        self.add_thread(
            process,
            name,
            cpu,
            Box::new(move |user| user.process_code(main(user))),
        );
        process
    }

    /// A process without threads so far. Its address space outlives its threads, so that it can
    /// be looked at when the run is over.
    pub fn empty_process(&mut self, name: &str) -> ProcessId {
        let cx = self.cx;
        let root = cx
            .take_frame()
            .expect("a prepared machine has memory for a page table");
        let mm = cx.new_mm(root);
        // Nobody uses it yet: each thread adds itself.
        cx.mms.borrow_mut()[mm].users = 0;
        let main = !cx.processes.borrow().values().any(|it| it.main);
        cx.processes.borrow_mut().insert(Process {
            pid: cx.pid_of(mm),
            name: name.to_string(),
            parent: None,
            tasks: Vec::new(),
            files: Vec::new(),
            exit: None,
            zombie: false,
            waiters: Vec::new(),
            vforked: false,
            main,
        })
    }

    /// A further thread of a process, on `cpu`.
    pub fn thread<F>(
        &mut self,
        process: ProcessId,
        name: &str,
        cpu: u16,
        body: impl Fn(User<'w>) -> F + 'w,
    ) where
        F: Future<Output = ()> + 'w,
    {
        self.add_thread(
            process,
            name,
            cpu,
            Box::new(move |user| user.thread_code(body(user))),
        );
    }

    fn add_thread(
        &mut self,
        process: ProcessId,
        name: &str,
        cpu: u16,
        make: Box<dyn Fn(User<'w>) -> Code<'w> + 'w>,
    ) {
        let mm = self.mm_of(process);
        self.cx.mms.borrow_mut()[mm].users += 1;
        self.cx.starters.borrow_mut().push(Starter {
            name: name.into(),
            process,
            mm: Some(mm),
            cpu: CpuId(cpu % self.cx.machine.size().cpus),
            make,
        });
    }

    /// A thread of the kernel's own, on `cpu`.
    pub fn kernel_thread<F>(&mut self, name: &str, cpu: u16, body: impl Fn(Cx<'w>) -> F + 'w)
    where
        F: Future<Output = ()> + 'w,
    {
        let process = self.cx.processes.borrow_mut().insert(Process {
            pid: 0,
            name: name.to_string(),
            parent: None,
            tasks: Vec::new(),
            files: Vec::new(),
            exit: None,
            zombie: false,
            waiters: Vec::new(),
            vforked: false,
            main: false,
        });
        self.cx.starters.borrow_mut().push(Starter {
            name: name.into(),
            process,
            mm: None,
            cpu: CpuId(cpu % self.cx.machine.size().cpus),
            make: Box::new(move |user| Box::pin(body(user.cx))),
        });
    }

    /// A swap area of so many slots. Once.
    pub fn swap_area(&mut self, slots: u32) {
        let cx = self.cx;
        cx.has_swap.set(true);
        cx.swap.borrow_mut().anon_vma = Some(cx.machine.new_lock(&crate::lock::ANON_VMA));
        for _ in 0..slots {
            let frame = cx.take_frame().expect("a prepared machine has memory");
            cx.pages.borrow_mut().get_mut(frame).flags = PageFlags::RESERVED;
            cx.swap.borrow_mut().add_slot(frame);
        }
    }

    /// New pages wait in per-CPU batches of so many before reclaim can see them.
    pub fn page_batches(&mut self, pages: usize) {
        let cpus = usize::from(self.cx.machine.size().cpus);
        let mut batches = self.cx.batches.borrow_mut();
        batches.size = pages;
        batches.waiting = vec![Vec::new(); cpus];
    }

    /// Reclaim, as a thread on `cpu`: every `delay_us` it scans the page that is mapped at `at`
    /// now, so many times. Its accessed mark is cleared, as if it had not been used for long.
    pub fn reclaimer(
        &mut self,
        cpu: u16,
        process: ProcessId,
        at: VirtAddr,
        delay_us: u64,
        scans: u32,
    ) {
        self.age(process, at, mmu::PAGE_SIZE as u64);
        self.reclaimer_of_used(cpu, process, at, delay_us, scans);
    }

    /// Reclaim, as a thread on `cpu`, in turn with others: it scans the page that is mapped at `at` now
    /// once for each of `turns`, spins before that until the first event has happened, and says with
    /// the second that it did. Its accessed mark is cleared, as if it had not been used for long.
    pub fn reclaimer_in_turn(
        &mut self,
        cpu: u16,
        process: ProcessId,
        at: VirtAddr,
        turns: &[(Option<u32>, Option<u32>)],
    ) {
        let pages = self.age(process, at, mmu::PAGE_SIZE as u64);
        let turns = turns.to_vec();
        self.kernel_thread("kswapd", cpu, move |cx| {
            crate::vmscan::kswapd_in_turn(cx, pages.clone(), turns.clone())
        });
    }

    /// As [`Setup::reclaimer`], and the accessed mark stays: the first scan unmaps nothing.
    pub fn reclaimer_of_used(
        &mut self,
        cpu: u16,
        process: ProcessId,
        at: VirtAddr,
        delay_us: u64,
        scans: u32,
    ) {
        let root = self.cx.mm(self.mm_of(process)).root;
        let found = walk::lookup(&self.cx.machine.memory(), root, at);
        let pages = vec![found.expect("mapped by map()").1.pfn()];
        self.kernel_thread("kswapd", cpu, move |cx| {
            crate::vmscan::kswapd(cx, pages.clone(), delay_us, scans)
        });
    }

    /// Same-page merging, as a thread on `cpu`: it tries once to map the page at `into` in place of
    /// the one at `at` as well.
    pub fn merger(&mut self, cpu: u16, process: ProcessId, at: VirtAddr, into: VirtAddr) {
        let mm = self.mm_of(process);
        self.kernel_thread("ksmd", cpu, move |cx| crate::ksm::ksmd(cx, mm, at, into));
    }

    /// The mapping at `at` has the advice to be copied at fork.
    pub fn copied_at_fork(&mut self, process: ProcessId, at: VirtAddr) {
        let mm = self.mm_of(process);
        let mut mms = self.cx.mms.borrow_mut();
        let vma = mms[mm].vmas.get_mut(&at.get()).expect("made by map()");
        vma.flags |= crate::mm::VmFlags::COPYFORK;
    }

    /// The page at `at` was pinned once, and has the mark of that.
    pub fn pinned_once(&mut self, process: ProcessId, at: VirtAddr) {
        let pfn = self.age(process, at, mmu::PAGE_SIZE as u64)[0];
        self.cx.pages.borrow_mut().get_mut(pfn).flags |= PageFlags::GUP;
    }

    /// Only so many frames are free. Said last.
    pub fn free_frames(&mut self, frames: u32) {
        self.cx.zone.borrow_mut().limit(frames);
    }

    /// Who needs memory, and may sleep for it, finds the page that is mapped at `at` now.
    pub fn reclaimable(&mut self, process: ProcessId, at: VirtAddr) {
        let pages = self.age(process, at, mmu::PAGE_SIZE as u64);
        self.cx.reclaimable.borrow_mut().extend(pages);
    }

    /// The page at `at` is in the swap cache already, and still mapped.
    pub fn swap_cached(&mut self, process: ProcessId, at: VirtAddr) {
        let pfn = self.age(process, at, mmu::PAGE_SIZE as u64)[0];
        self.cx.swap.borrow_mut().prepare_cached(pfn);
        let mut pages = self.cx.pages.borrow_mut();
        let page = pages.get_mut(pfn);
        page.count += 1;
        page.held[Holder::Cache as usize] += 1;
        page.flags |= PageFlags::SWAPCACHE | PageFlags::DIRTY;
    }

    /// Reclaim has just unmapped the page at `at`: it is in the swap cache, and still to be written.
    pub fn unmapped_to_swap(&mut self, process: ProcessId, at: VirtAddr) {
        self.swap_cached(process, at);
        let mm = self.mm_of(process);
        let mut memory = self.cx.machine.prepare_memory();
        let found = walk::lookup(&memory, self.cx.mm(mm).root, at);
        let (entry_at, pte) = found.expect("mapped by map()");
        let slot = mmu::SwapEntry { area: 0, offset: 0 };
        memory.write_u64(entry_at, mmu::Pte::swap(slot).raw());
        self.cx.swap.borrow_mut().slots[0].count += 1;
        let mut pages = self.cx.pages.borrow_mut();
        let page = pages.get_mut(pte.pfn());
        page.count -= 1;
        page.mapcount -= 1;
        page.held[Holder::Mapping as usize] -= 1;
    }

    /// Clears the accessed marks of mapped memory; returns its frames.
    pub fn age(&mut self, process: ProcessId, at: VirtAddr, len: u64) -> Vec<mmu::Pfn> {
        let root = self.cx.mm(self.mm_of(process)).root;
        let mut memory = self.cx.machine.prepare_memory();
        let mut frames = Vec::new();
        for page in 0..len.div_ceil(mmu::PAGE_SIZE as u64) {
            let va = at + page * mmu::PAGE_SIZE as u64;
            let (at, pte) = walk::lookup(&memory, root, va).expect("mapped by map()");
            memory.write_u64(at, pte.without(mmu::PteFlags::A).raw());
            frames.push(pte.pfn());
        }
        frames
    }

    fn mm_of(&self, process: ProcessId) -> MmId {
        let pid = self.cx.processes.borrow()[process].pid;
        let mms = self.cx.mms.borrow();
        let found = mms.iter().find(|(_, mm)| mm.pid == pid);
        found
            .expect("a process that was just made has an address space")
            .0
    }

    /// Memory of a process, every page touched and zero.
    pub fn map(&mut self, process: ProcessId, len: u64) -> VirtAddr {
        let cx = self.cx;
        let mm = self.mm_of(process);
        let len = VirtAddr::new(len).page_up().get();
        let start = cx.mms.borrow_mut()[mm]
            .place(len)
            .expect("the mapping fits the address space");
        cx.oracles.mapped(cx, mm, start, len);
        for page in 0..len / mmu::PAGE_SIZE as u64 {
            let va = start + page * mmu::PAGE_SIZE as u64;
            let frame = cx.take_frame().expect("a prepared machine has memory");
            self.mapped_frame(mm, va, frame);
            self.map_entry(mm, va, user_pte(frame, true, true), false);
        }
        start
    }

    /// A frame just taken is anonymous memory, mapped once.
    fn mapped_frame(&self, mm: MmId, va: VirtAddr, frame: mmu::Pfn) {
        let mut pages = self.cx.pages.borrow_mut();
        let it = pages.get_mut(frame);
        it.flags |= crate::exclusive::of_new_page(self.cx);
        it.mapping = Some(mm);
        it.index = va.page().get();
        it.mapcount = 1;
        it.held[Holder::Hand as usize] = 0;
        it.held[Holder::Mapping as usize] = 1;
    }

    /// Writes the entry of a frame, and makes the tables above it.
    fn map_entry(&self, mm: MmId, va: VirtAddr, pte: mmu::Pte, huge: bool) {
        let cx = self.cx;
        let root = cx.mm(mm).root;
        let mut tables = Vec::new();
        let mut alloc = || {
            let table = cx.take_frame().expect("a prepared machine has memory");
            tables.push(table);
            table
        };
        let map = if huge { walk::map_large } else { walk::map };
        map(&mut cx.machine.prepare_memory(), root, va, pte, &mut alloc);
        let mut pages = cx.pages.borrow_mut();
        for table in tables {
            let it = pages.get_mut(table);
            it.flags = PageFlags::TABLE;
            it.held = Default::default();
        }
    }

    /// So many huge pages, each copied in `copy_parts` steps (a power of two).
    pub fn huge_pool(&mut self, pages: u32, copy_parts: u32) {
        let cx = self.cx;
        assert!(
            copy_parts.is_power_of_two() && copy_parts <= mmu::PAGES_PER_LARGE,
            "a huge page is copied in a power of two of parts: {copy_parts}"
        );
        let mutex = cx.machine.new_lock(&crate::huge::HUGETLB_INSTANTIATION);
        cx.huge.set(Some(HugeConfig { mutex, copy_parts }));
        for _ in 0..pages {
            assert!(
                cx.zone.borrow_mut().reserve_huge(),
                "a prepared machine has memory for its huge pages"
            );
        }
    }

    /// Memory of a process in huge pages, every one touched and zero.
    pub fn map_huge(&mut self, process: ProcessId, pages: u64) -> VirtAddr {
        let cx = self.cx;
        let mm = self.mm_of(process);
        let huge = mmu::LARGE_PAGE_SIZE as u64;
        let start = cx.mms.borrow_mut()[mm]
            .place_huge(pages * huge)
            .expect("the mapping fits the address space");
        cx.oracles.mapped(cx, mm, start, pages * huge);
        for page in 0..pages {
            let va = start + page * huge;
            let head = cx.take_huge_page().expect("the pool has huge pages");
            self.mapped_frame(mm, va, head);
            self.map_entry(mm, va, user_pte(head, true, true), true);
        }
        start
    }

    /// A file of one huge page of zeros, which is cached.
    pub fn huge_file(&mut self) {
        let cx = self.cx;
        let head = cx.take_huge_page().expect("the pool has huge pages");
        let mut pages = cx.pages.borrow_mut();
        let page = pages.get_mut(head);
        page.held[Holder::Hand as usize] = 0;
        page.held[Holder::Cache as usize] = 1;
        cx.huge_file.set(Some(head));
    }

    /// A private mapping of that file, read-only so far.
    pub fn map_huge_file(&mut self, process: ProcessId) -> VirtAddr {
        let cx = self.cx;
        let mm = self.mm_of(process);
        let head = cx.huge_file.get().expect("made by huge_file()");
        let huge = mmu::LARGE_PAGE_SIZE as u64;
        let start = cx.mms.borrow_mut()[mm]
            .place_huge(huge)
            .expect("the mapping fits the address space");
        let mut mms = cx.mms.borrow_mut();
        let vma = mms[mm].vmas.get_mut(&start.get()).expect("just placed");
        vma.flags |= crate::mm::VmFlags::FILE;
        drop(mms);
        cx.oracles.mapped(cx, mm, start, huge);
        self.map_entry(mm, start, user_pte(head, false, false), true);
        let mut pages = cx.pages.borrow_mut();
        let page = pages.get_mut(head);
        page.count += 1;
        page.mapcount += 1;
        page.held[Holder::Mapping as usize] += 1;
        start
    }

    /// Fills mapped memory.
    pub fn fill(&mut self, process: ProcessId, at: VirtAddr, len: u64, byte: u8) {
        let cx = self.cx;
        let mm = self.mm_of(process);
        let root = cx.mm(mm).root;
        let mut done = 0;
        while done < len {
            let va = at + done;
            let room = mmu::SECTOR_SIZE as u64 - va.get() % mmu::SECTOR_SIZE as u64;
            let piece = room.min(len - done) as usize;
            let found = walk::lookup_frame(&cx.machine.memory(), root, va);
            let (_, _, pfn) = found.expect("mapped by map()");
            let pa = pfn.base() + va.offset() as u64;
            let bytes = [byte; mmu::SECTOR_SIZE];
            let mut memory = cx.machine.prepare_memory();
            memory.bytes_mut(pa, piece).fill(byte);
            cx.oracles.stored(cx, mm, va, &bytes[..piece], pa);
            done += piece as u64;
        }
    }

    /// Keeps a process's address space after its threads ended, for [`Setup::at_end`].
    pub fn keep_memory(&mut self, process: ProcessId) {
        let mm = self.mm_of(process);
        self.cx.mms.borrow_mut()[mm].users += 1;
    }

    /// A look at what is left when the run is over.
    pub fn at_end(&mut self, look: impl Fn(&Kernel<'w>) + 'w) {
        self.cx.at_end.borrow_mut().push(Box::new(look));
    }
}

impl Kernel<'_> {
    /// Reads memory of a prepared process after a run, as its page tables map it.
    pub fn peek(&self, process: ProcessId, at: VirtAddr, len: usize) -> Option<Vec<u8>> {
        let pid = self.processes.borrow().get(process)?.pid;
        let mms = self.mms.borrow();
        let mm = mms.values().find(|mm| mm.pid == pid)?;
        let memory = self.machine.memory();
        let (_, pte, pfn) = walk::lookup_frame(&memory, mm.root, at)?;
        if !pte.present() || at.offset() + len > mmu::PAGE_SIZE {
            return None;
        }
        Some(memory.bytes(pfn.base() + at.offset() as u64, len).to_vec())
    }
}
