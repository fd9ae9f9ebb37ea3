//! Files: extents on the disk.

use crate::{Cx, Errno, Kernel};

slotmap::new_key_type! {
    /// A file.
    pub struct FileId;
}

/// A file: one extent.
#[derive(Clone)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its first sector.
    pub lba: u64,
}

/// A process's number for an open file.
pub type Fd = usize;

/// Opens a file by name. Every access is `O_DIRECT`; buffered ones are not modelled.
pub fn open(cx: Cx<'_>, name: &str) -> Result<Fd, Errno> {
    let found = cx
        .files
        .borrow()
        .iter()
        .find(|(_, file)| file.name == name)
        .map(|(id, _)| id)
        .ok_or(Errno::ENOENT)?;
    let process = cx.tasks.borrow()[cx.current()].process;
    let mut processes = cx.processes.borrow_mut();
    let files = &mut processes[process].files;
    let at = match files.iter().position(Option::is_none) {
        Some(at) => at,
        None => {
            files.push(None);
            files.len() - 1
        }
    };
    files[at] = Some(found);
    Ok(at)
}

/// Closes an open file.
pub fn close(cx: Cx<'_>, fd: Fd) -> Result<(), Errno> {
    let process = cx.tasks.borrow()[cx.current()].process;
    let mut processes = cx.processes.borrow_mut();
    let slot = processes[process].files.get_mut(fd).ok_or(Errno::EBADF)?;
    slot.take().map(|_| ()).ok_or(Errno::EBADF)
}

/// The file behind a number.
pub fn fget(cx: Cx<'_>, fd: Fd) -> Result<FileId, Errno> {
    let process = cx.tasks.borrow()[cx.current()].process;
    let processes = cx.processes.borrow();
    processes[process]
        .files
        .get(fd)
        .copied()
        .flatten()
        .ok_or(Errno::EBADF)
}

impl Kernel<'_> {
    /// The bytes of a file on the disk, for looking at after a run.
    pub fn file_bytes(&self, name: &str) -> Option<Vec<u8>> {
        let files = self.files.borrow();
        let file = files.values().find(|file| file.name == name)?;
        let sectors = file.size.div_ceil(mmu::SECTOR_SIZE as u64);
        let disk = self.machine.disk();
        let mut bytes = vec![0; (sectors as usize) * mmu::SECTOR_SIZE];
        for (at, chunk) in bytes.chunks_exact_mut(mmu::SECTOR_SIZE).enumerate() {
            let chunk: &mut [u8; mmu::SECTOR_SIZE] = chunk.try_into().expect("whole sectors");
            disk.read_sector(file.lba + at as u64, chunk);
        }
        bytes.truncate(file.size as usize);
        Some(bytes)
    }
}
