//! What a program in user mode can do: memory through the MMU, and system calls.

use emu::{Access, Code};
use mmu::VirtAddr;

use crate::direct_io::{self, DioId};
use crate::file::{self, Fd};
use crate::mm::VmFlags;
use crate::registration::{self, RegionId};
use crate::task::{ExitStatus, Pid, ProcessId, Signal};
use crate::uaccess::WordOf;
use crate::{
    Cx, Errno, access_vm, clear_refs, event, exit, fork, futex, irq, sched, uaccess, vmscan,
};

/// A program in user mode. It is a handle: which task acts is known from the CPU that acts.
#[derive(Clone, Copy)]
pub struct User<'w> {
    /// The kernel below.
    pub cx: Cx<'w>,
}

/// A thread's number.
pub type Tid = u32;

/// An asynchronous request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AioId(Option<DioId>);

/// What `madvise` can say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// Leave the range out at fork.
    DontFork,
    /// Copy it at fork again.
    DoFork,
    /// Drop the contents.
    DontNeed,
    /// Reclaim the pages now (`MADV_PAGEOUT`).
    PageOut,
}

/// The pieces of a range that lie in one 512-byte sector each: address, offset from the start,
/// length.
fn pieces(at: VirtAddr, len: u64) -> impl Iterator<Item = (VirtAddr, u64, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= len {
            return None;
        }
        let here = at + done;
        let room = mmu::SECTOR_SIZE as u64 - here.get() % mmu::SECTOR_SIZE as u64;
        let piece = room.min(len - done);
        let offset = done;
        done += piece;
        Some((here, offset, piece as usize))
    })
}

impl<'w> User<'w> {
    /// Loads four bytes.
    #[inline]
    pub async fn load_u32(self, at: VirtAddr) -> u32 {
        uaccess::access(self.cx, at, WordOf::<4>, Access::Read, |bytes| {
            read_u32(bytes)
        })
        .await
    }

    /// Stores four bytes.
    #[inline]
    pub async fn store_u32(self, at: VirtAddr, value: u32) {
        let bytes = value.to_le_bytes();
        uaccess::access(self.cx, at, WordOf::<4>, Access::Write, |to| {
            to.copy_from_slice(&bytes);
            value
        })
        .await;
    }

    /// Loads eight bytes.
    #[inline]
    pub async fn load_u64(self, at: VirtAddr) -> u64 {
        uaccess::access(self.cx, at, WordOf::<8>, Access::Read, |bytes| {
            u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
        })
        .await
    }

    /// Stores eight bytes.
    #[inline]
    pub async fn store_u64(self, at: VirtAddr, value: u64) {
        let bytes = value.to_le_bytes();
        uaccess::access(self.cx, at, WordOf::<8>, Access::Write, |to| {
            to.copy_from_slice(&bytes);
            value
        })
        .await;
    }

    /// Loads a range, a step for each 512-byte sector.
    pub async fn load(self, at: VirtAddr, into: &mut [u8]) {
        for (here, offset, len) in pieces(at, into.len() as u64) {
            let part = std::cell::RefCell::new(&mut into[offset as usize..][..len]);
            uaccess::access(self.cx, here, len, Access::Read, |bytes| {
                part.borrow_mut().copy_from_slice(bytes);
                fold(bytes)
            })
            .await;
        }
    }

    /// Stores a range, a step for each 512-byte sector.
    pub async fn store(self, at: VirtAddr, bytes: &[u8]) {
        for (here, offset, len) in pieces(at, bytes.len() as u64) {
            let part = &bytes[offset as usize..][..len];
            uaccess::access(self.cx, here, len, Access::Write, |to| {
                to.copy_from_slice(part);
                fold(part)
            })
            .await;
        }
    }

    /// `memset`, a step for each 512-byte sector.
    pub async fn fill(self, at: VirtAddr, len: u64, byte: u8) {
        for (here, _, len) in pieces(at, len) {
            uaccess::access(self.cx, here, len, Access::Write, |to| {
                to.fill(byte);
                byte
            })
            .await;
        }
    }

    /// Compares with a byte, a step for each 512-byte sector; the offset of the first that differs.
    pub async fn find_mismatch(self, at: VirtAddr, len: u64, byte: u8) -> Option<u64> {
        for (here, offset, len) in pieces(at, len) {
            let found = uaccess::access(self.cx, here, len, Access::Read, |bytes| {
                bytes.iter().position(|one| *one != byte)
            })
            .await;
            if let Some(at) = found {
                return Some(offset + at as u64);
            }
        }
        None
    }

    /// Stores `new` if the word holds `expect`; tells what it held.
    pub async fn compare_exchange_u32(
        self,
        at: VirtAddr,
        expect: u32,
        new: u32,
    ) -> Result<u32, u32> {
        uaccess::access(self.cx, at, WordOf::<4>, Access::Update, |bytes| {
            let now = read_u32(bytes);
            if now != expect {
                return Err(now);
            }
            bytes.copy_from_slice(&new.to_le_bytes());
            Ok(now)
        })
        .await
    }

    /// Stores a word and tells what it held.
    pub async fn swap_u32(self, at: VirtAddr, value: u32) -> u32 {
        uaccess::access(self.cx, at, WordOf::<4>, Access::Update, |bytes| {
            let now = read_u32(bytes);
            bytes.copy_from_slice(&value.to_le_bytes());
            now
        })
        .await
    }

    /// Adds to a word and tells what it held.
    pub async fn fetch_add_u32(self, at: VirtAddr, value: u32) -> u32 {
        uaccess::access(self.cx, at, WordOf::<4>, Access::Update, |bytes| {
            let now = read_u32(bytes);
            bytes.copy_from_slice(&now.wrapping_add(value).to_le_bytes());
            now
        })
        .await
    }

    /// Private work.
    pub async fn compute(self, cycles: u64) {
        self.cx.machine.spend(cycles);
    }

    /// Private anonymous memory, readable and writable.
    pub async fn mmap(self, len: u64) -> Result<VirtAddr, Errno> {
        self.enter();
        let cx = self.cx;
        let len = VirtAddr::new(len).page_up().get();
        let mm = cx.current_mm();
        let sem = cx.mm(mm).mmap_sem;
        crate::lock::down_write(cx, sem).await;
        let placed = cx.mms.borrow_mut()[mm].place(len);
        if let Ok(at) = placed {
            cx.oracles.mapped(cx, mm, at, len);
        }
        crate::lock::up_write(cx, sem).await;
        placed
    }

    /// Private anonymous memory in huge pages of 2 MiB (`MAP_HUGETLB`).
    pub async fn mmap_huge(self, len: u64) -> Result<VirtAddr, Errno> {
        self.enter();
        let cx = self.cx;
        let len = len
            .checked_next_multiple_of(mmu::LARGE_PAGE_SIZE as u64)
            .ok_or(Errno::ENOMEM)?;
        if cx.huge.get().is_none() {
            return Err(Errno::ENOMEM);
        }
        let mm = cx.current_mm();
        let sem = cx.mm(mm).mmap_sem;
        crate::lock::down_write(cx, sem).await;
        let placed = cx.mms.borrow_mut()[mm].place_huge(len);
        if let Ok(at) = placed {
            cx.oracles.mapped(cx, mm, at, len);
        }
        crate::lock::up_write(cx, sem).await;
        placed
    }

    /// Removes mappings. A part of a huge page cannot be removed.
    pub async fn munmap(self, at: VirtAddr, len: u64) -> Result<(), Errno> {
        self.enter();
        let (start, end) = self.whole_pages(at, len)?;
        exit::do_munmap(self.cx, start, end).await;
        Ok(())
    }

    /// Changes the permission to write.
    pub async fn mprotect(self, at: VirtAddr, len: u64, writable: bool) -> Result<(), Errno> {
        self.enter();
        let (start, end) = self.whole_pages(at, len)?;
        exit::mprotect(self.cx, start, end, writable).await
    }

    /// Advises the kernel about a range.
    pub async fn madvise(self, at: VirtAddr, len: u64, advice: Advice) -> Result<(), Errno> {
        self.enter();
        let (start, end) = self.whole_pages(at, len)?;
        let dontcopy = match advice {
            Advice::DontFork => true,
            Advice::DoFork => false,
            Advice::DontNeed => {
                exit::madvise_dontneed(self.cx, start, end).await;
                return Ok(());
            }
            Advice::PageOut => {
                vmscan::madvise_pageout(self.cx, start, end).await;
                return Ok(());
            }
        };
        exit::change_vm_flags(self.cx, start, end, |flags| {
            flags.set(VmFlags::DONTCOPY, dontcopy)
        })
        .await
    }

    /// Looks at a word of another process's memory.
    pub async fn peek(self, process: ProcessId, at: VirtAddr) -> Result<u32, Errno> {
        self.enter();
        let word = access_vm::access_process_vm(self.cx, process, at, None).await;
        self.leave().await;
        word
    }

    /// Changes a word of another process's memory, whatever that may do with it.
    pub async fn poke(self, process: ProcessId, at: VirtAddr, value: u32) -> Result<(), Errno> {
        self.enter();
        let done = access_vm::access_process_vm(self.cx, process, at, Some(value)).await;
        self.leave().await;
        done.map(|_| ())
    }

    /// Clears the process's soft-dirty marks (`/proc/PID/clear_refs`): its next stores fault.
    pub async fn clear_soft_dirty(self) {
        self.enter();
        clear_refs::clear_refs_write(self.cx).await;
        self.leave().await;
    }

    /// A new process that runs `child` and exits with its value.
    pub async fn fork<F>(self, child: impl FnOnce(User<'w>) -> F) -> Result<Pid, Errno>
    where
        F: Future<Output = i32> + 'w,
    {
        self.enter();
        fork::do_fork(self.cx, self.process_code(child(self))).await
    }

    /// The pages of a range, none of which is a part of a huge one.
    fn whole_pages(self, at: VirtAddr, len: u64) -> Result<(VirtAddr, VirtAddr), Errno> {
        let (start, end) = page_range(at, len)?;
        let mm = self.cx.current_mm();
        if self.cx.splits_no_huge_page(mm, start, end) {
            Ok((start, end))
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// A child that stays stopped (`CLONE_STOPPED`): it shares the memory, and does nothing.
    pub async fn fork_stopped(self) -> Result<Pid, Errno> {
        self.enter();
        let program = self.process_code(async { 0 });
        let (pid, _) = fork::copy_process(self.cx, program).await?;
        Ok(pid)
    }

    /// A new process that runs `child` in this address space and exits with its value; returns when
    /// it has. As after `vfork`, the child runs another program or exits, and does nothing else.
    pub async fn vfork<F>(self, child: impl FnOnce(User<'w>) -> F) -> Pid
    where
        F: Future<Output = i32> + 'w,
    {
        self.enter();
        fork::do_vfork(self.cx, self.process_code(child(self))).await
    }

    pub(crate) fn process_code<F>(self, main: F) -> Code<'w>
    where
        F: Future<Output = i32> + 'w,
    {
        let cx = self.cx;
        Box::pin(async move {
            let status = main.await;
            Box::pin(exit::do_group_exit(cx, ExitStatus::Exited(status))).await;
        })
    }

    pub(crate) fn thread_code<F>(self, body: F) -> Code<'w>
    where
        F: Future<Output = ()> + 'w,
    {
        let cx = self.cx;
        Box::pin(async move {
            body.await;
            Box::pin(exit::do_exit(cx, ExitStatus::Exited(0))).await;
        })
    }

    /// A thread of the same process.
    pub async fn clone_thread<F>(
        self,
        name: &str,
        body: impl FnOnce(User<'w>) -> F,
    ) -> Result<Tid, Errno>
    where
        F: Future<Output = ()> + 'w,
    {
        self.enter();
        let cx = self.cx;
        let _span = cx.machine.span("clone");
        let mm = cx.current_mm();
        let process = cx.tasks.borrow()[cx.current()].process;
        let request = emu::Request::touch(
            crate::context::mm_object(cx, mm),
            Access::Update,
            cx.machine.costs().l1,
        );
        cx.machine
            .step(request, |_| cx.mms.borrow_mut()[mm].users += 1)
            .await;
        cx.machine
            .spend(u64::from(cx.machine.costs().fork_fixed) / 8);
        let here = cx.machine.cpu();
        let thread = cx.new_task(name, process, mm, here, self.thread_code(body(self)));
        sched::wake_up_new_task(cx, thread).await;
        Ok(thread.0)
    }

    /// Ends the process.
    pub async fn exit(self, status: i32) {
        self.enter();
        uaccess::leave_for_good(self.cx, ExitStatus::Exited(status)).await;
    }

    /// Ends the process by `SIGABRT`.
    pub async fn abort(self) {
        self.enter();
        uaccess::die(self.cx, Signal::Abrt).await;
    }

    /// Waits for a child to end; `None` takes any.
    pub async fn wait(self, pid: Option<Pid>) -> Result<(Pid, ExitStatus), Errno> {
        self.enter();
        exit::do_wait(self.cx, pid).await
    }

    /// Computes without touching memory, which takes no steps, as long as nobody else wants the CPU;
    /// then pauses. For a thread that has done its part.
    pub async fn spin(self) {
        sched::spin(self.cx).await;
    }

    /// Sleeps until a signal ends the process.
    pub async fn pause(self) {
        self.enter();
        sched::pause(self.cx).await;
        self.leave().await;
    }

    /// Sleeps.
    pub async fn sleep_us(self, us: u64) {
        self.enter();
        irq::sleep_cycles(self.cx, self.cx.machine.costs().cycles_from_us(us)).await;
    }

    /// Sleeps until woken, if the word holds `value`.
    pub async fn futex_wait(self, at: VirtAddr, value: u32) -> Result<(), Errno> {
        self.enter();
        let result = futex::futex_wait(self.cx, at, value).await;
        self.leave().await;
        result
    }

    /// Wakes up to `count` of those who wait on the word.
    pub async fn futex_wake(self, at: VirtAddr, count: u32) -> u32 {
        self.enter();
        futex::futex_wake(self.cx, at, count).await
    }

    /// Sleeps until the event, which any process can name, has happened.
    pub async fn wait_event(self, event: u32) {
        self.enter();
        event::wait(self.cx, event).await;
        self.leave().await;
    }

    /// Spins until the event has happened, in no step but the one that sees it: how one thread waits
    /// for another without the scheduler. Events have numbers below 2^30. Without time nobody else gets the CPU meanwhile, and whoever
    /// is killed ends only then.
    pub async fn poll_event(self, event: u32) {
        event::poll(self.cx, event).await;
    }

    /// The event has happened.
    pub async fn signal_event(self, event: u32) {
        self.enter();
        event::signal(self.cx, event).await;
    }

    /// Lets another task run.
    pub async fn sched_yield(self) {
        self.enter();
        self.cx.machine.leave(emu::Leave::Preempt).await;
    }

    /// Writes to standard output.
    pub async fn print(self, text: String) {
        self.enter();
        let cx = self.cx;
        let object = emu::Object::new(emu::Kind::Console, 0);
        let request = emu::Request::touch(object, Access::Write, cx.machine.costs().l2);
        cx.machine
            .step(request, |_| {
                cx.console.borrow_mut().push_str(&text);
                fold(text.as_bytes())
            })
            .await;
        self.leave().await;
    }

    /// Opens a file for direct I/O.
    pub async fn open(self, name: &str) -> Result<Fd, Errno> {
        self.enter();
        let cx = self.cx;
        let object = emu::Object::new(emu::Kind::File, 0);
        let request = emu::Request::touch(object, Access::Update, cx.machine.costs().l2);
        cx.machine.step(request, |_| file::open(cx, name)).await
    }

    /// Closes a file.
    pub async fn close(self, fd: Fd) -> Result<(), Errno> {
        self.enter();
        let cx = self.cx;
        let object = emu::Object::new(emu::Kind::File, 0);
        let request = emu::Request::touch(object, Access::Update, cx.machine.costs().l2);
        cx.machine.step(request, |_| file::close(cx, fd)).await
    }

    /// Reads with O_DIRECT, and waits.
    pub async fn pread(self, fd: Fd, at: VirtAddr, len: u64, offset: u64) -> Result<u64, Errno> {
        self.transfer(fd, &[(at, len)], offset, true).await
    }

    /// Writes with O_DIRECT, and waits.
    pub async fn pwrite(self, fd: Fd, at: VirtAddr, len: u64, offset: u64) -> Result<u64, Errno> {
        self.transfer(fd, &[(at, len)], offset, false).await
    }

    /// Reads into several buffers (address, bytes) with O_DIRECT, and waits.
    pub async fn preadv(
        self,
        fd: Fd,
        segments: &[(VirtAddr, u64)],
        offset: u64,
    ) -> Result<u64, Errno> {
        self.transfer(fd, segments, offset, true).await
    }

    /// Writes several buffers (address, bytes) with O_DIRECT, and waits.
    pub async fn pwritev(
        self,
        fd: Fd,
        segments: &[(VirtAddr, u64)],
        offset: u64,
    ) -> Result<u64, Errno> {
        self.transfer(fd, segments, offset, false).await
    }

    async fn transfer(
        self,
        fd: Fd,
        segments: &[(VirtAddr, u64)],
        offset: u64,
        to_memory: bool,
    ) -> Result<u64, Errno> {
        self.enter();
        let what = direct_io::prepare(self.cx, fd, segments, offset, to_memory)?;
        let Some(what) = what else { return Ok(0) };
        direct_io::direct_io_worker(self.cx, &what, false).await?;
        self.leave().await;
        Ok(what.bytes())
    }

    /// Registers memory with a device: its pages stay pinned until [`User::unregister`].
    /// `write`: the device may write them.
    pub async fn register(self, at: VirtAddr, len: u64, write: bool) -> Result<RegionId, Errno> {
        self.enter();
        registration::register(self.cx, at, len, write).await
    }

    /// Ends a registration.
    pub async fn unregister(self, region: RegionId) -> Result<(), Errno> {
        self.enter();
        registration::unregister(self.cx, region).await
    }

    /// The device writes sectors of a file into registered memory; waits for it.
    pub async fn device_write(
        self,
        region: RegionId,
        fd: Fd,
        at: VirtAddr,
        len: u64,
        offset: u64,
    ) -> Result<u64, Errno> {
        self.device_transfer(region, fd, (at, len), offset, true)
            .await
    }

    /// The device reads registered memory into sectors of a file; waits for it.
    pub async fn device_read(
        self,
        region: RegionId,
        fd: Fd,
        at: VirtAddr,
        len: u64,
        offset: u64,
    ) -> Result<u64, Errno> {
        self.device_transfer(region, fd, (at, len), offset, false)
            .await
    }

    async fn device_transfer(
        self,
        region: RegionId,
        fd: Fd,
        segment: (VirtAddr, u64),
        offset: u64,
        to_memory: bool,
    ) -> Result<u64, Errno> {
        self.enter();
        let what = direct_io::prepare(self.cx, fd, &[segment], offset, to_memory)?;
        let Some(what) = what else { return Ok(0) };
        registration::transfer(self.cx, region, &what).await?;
        self.leave().await;
        Ok(what.bytes())
    }

    /// Submits a read.
    pub async fn aio_read(
        self,
        fd: Fd,
        at: VirtAddr,
        len: u64,
        offset: u64,
    ) -> Result<AioId, Errno> {
        self.submit(fd, at, len, offset, true).await
    }

    /// Submits a write.
    pub async fn aio_write(
        self,
        fd: Fd,
        at: VirtAddr,
        len: u64,
        offset: u64,
    ) -> Result<AioId, Errno> {
        self.submit(fd, at, len, offset, false).await
    }

    async fn submit(
        self,
        fd: Fd,
        at: VirtAddr,
        len: u64,
        offset: u64,
        to_memory: bool,
    ) -> Result<AioId, Errno> {
        self.enter();
        let what = direct_io::prepare(self.cx, fd, &[(at, len)], offset, to_memory)?;
        let Some(what) = what else {
            return Ok(AioId(None));
        };
        let id = direct_io::direct_io_worker(self.cx, &what, true).await?;
        Ok(AioId(Some(id)))
    }

    /// Waits for a submitted request; the bytes transferred.
    pub async fn aio_wait(self, id: AioId) -> Result<u64, Errno> {
        self.enter();
        let Some(id) = id.0 else { return Ok(0) };
        let result = direct_io::aio_wait(self.cx, id).await;
        self.leave().await;
        result
    }

    /// Spins until a submitted request is over, as [`User::poll_event`] does; the bytes transferred.
    pub async fn aio_poll(self, id: AioId) -> Result<u64, Errno> {
        let Some(id) = id.0 else { return Ok(0) };
        direct_io::aio_poll(self.cx, id).await
    }

    /// The program's own check failed.
    pub fn check_failed(self, message: String) {
        self.cx.check_failed(message);
    }

    /// Into the kernel.
    fn enter(self) {
        self.cx
            .machine
            .spend(u64::from(self.cx.machine.costs().syscall));
    }

    /// Out of the kernel, where a killed task ends.
    async fn leave(self) {
        uaccess::return_to_user(self.cx).await;
    }
}

fn page_range(at: VirtAddr, len: u64) -> Result<(VirtAddr, VirtAddr), Errno> {
    if !at.is_aligned(mmu::PAGE_SIZE as u64) || len == 0 {
        return Err(Errno::EINVAL);
    }
    let end = at.get().checked_add(len).ok_or(Errno::EINVAL)?;
    if end > crate::mm::TASK_SIZE {
        return Err(Errno::EINVAL);
    }
    Ok((at, VirtAddr::new(end).page_up()))
}

fn read_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

/// A word that stands for many bytes in the digest.
fn fold(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }
    hash
}
