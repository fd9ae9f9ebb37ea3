//! Error numbers.

use std::fmt;

/// Why a system call failed, by its Unix name.
#[allow(clippy::upper_case_acronyms)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errno {
    /// Interrupted.
    EINTR,
    /// No such file.
    ENOENT,
    /// Not an open file.
    EBADF,
    /// No child.
    ECHILD,
    /// The word changed.
    EAGAIN,
    /// Memory is out, or not mapped.
    ENOMEM,
    /// A bad address.
    EFAULT,
    /// A bad argument.
    EINVAL,
    /// The file would have to grow.
    ENOSPC,
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Errno {}

impl emu::Word for Errno {
    fn word(&self) -> u64 {
        *self as u64
    }
}
