//! Names of actors, contexts, CPUs and threads.

use std::fmt;

/// A CPU, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct CpuId(pub u16);

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {}", self.0)
    }
}

/// A thread: a future that CPUs poll. The guest's task of the same name keeps its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ThreadId(pub u32);

/// A lock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LockId(pub u32);

/// Something that takes steps beside others: a CPU, the interrupt side of a CPU, a transfer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ActorId(u16);

/// The slot of CPU 0's store buffer: beyond those of transfers, of which no disk has more.
pub(crate) const FIRST_BUFFER: usize = 128;

impl ActorId {
    const DEVICE: u16 = 0x8000;

    /// The CPU itself.
    #[inline]
    pub const fn cpu(cpu: CpuId) -> ActorId {
        ActorId(cpu.0 * 2)
    }

    /// The interrupt side of a CPU: delivery, and the handlers.
    #[inline]
    pub const fn irq(cpu: CpuId) -> ActorId {
        ActorId(cpu.0 * 2 + 1)
    }

    /// The transfer in slot `slot` of the DMA engine.
    #[inline]
    pub const fn device(slot: usize) -> ActorId {
        ActorId(ActorId::DEVICE | slot as u16)
    }

    /// The store buffer of a CPU: a device of its own.
    #[inline]
    pub const fn store_buffer(cpu: CpuId) -> ActorId {
        ActorId::device(FIRST_BUFFER + cpu.0 as usize)
    }

    /// The CPU whose store buffer it is, if it is one.
    #[inline]
    pub const fn buffer_of(self) -> Option<CpuId> {
        match self.role() {
            Role::Device(slot) if slot >= FIRST_BUFFER => Some(CpuId((slot - FIRST_BUFFER) as u16)),
            _ => None,
        }
    }

    /// What kind of actor it is.
    #[inline]
    pub const fn role(self) -> Role {
        if self.0 & ActorId::DEVICE != 0 {
            Role::Device((self.0 & !ActorId::DEVICE) as usize)
        } else if self.0 & 1 == 0 {
            Role::Cpu(CpuId(self.0 / 2))
        } else {
            Role::Irq(CpuId(self.0 / 2))
        }
    }

    /// The CPU it runs on, if it is one.
    #[inline]
    pub const fn on_cpu(self) -> Option<CpuId> {
        match self.role() {
            Role::Cpu(cpu) | Role::Irq(cpu) => Some(cpu),
            Role::Device(_) => None,
        }
    }

    /// As stored in replay files.
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// From a replay file; whether the machine has it is checked when it is chosen.
    pub const fn from_raw(raw: u16) -> ActorId {
        ActorId(raw)
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cpu) = self.buffer_of() {
            return write!(f, "stores {}", cpu.0);
        }
        match self.role() {
            Role::Cpu(cpu) => write!(f, "CPU {}", cpu.0),
            Role::Irq(cpu) => write!(f, "irq {}", cpu.0),
            Role::Device(slot) => write!(f, "disk {slot}"),
        }
    }
}

/// The kinds of actor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A CPU.
    Cpu(CpuId),
    /// Interrupts of a CPU.
    Irq(CpuId),
    /// A DMA transfer, by its slot; or a store buffer, in slots of its own.
    Device(usize),
}

/// On whose behalf a step is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ContextId {
    /// The scheduler of a CPU.
    Idle(CpuId),
    /// An interrupt handler, by its nesting depth from 0.
    Handler(CpuId, u8),
    /// A DMA transfer, or a store buffer.
    Device(u16),
    /// A thread.
    Thread(ThreadId),
}

impl ContextId {
    /// One word for digests.
    #[inline]
    pub const fn raw(self) -> u32 {
        match self {
            ContextId::Idle(cpu) => cpu.0 as u32,
            ContextId::Handler(cpu, depth) => 1 << 28 | (depth as u32) << 16 | cpu.0 as u32,
            ContextId::Device(slot) => 2 << 28 | slot as u32,
            ContextId::Thread(thread) => 3 << 28 | thread.0,
        }
    }

    /// The thread, if it is one.
    #[inline]
    pub const fn thread(self) -> Option<ThreadId> {
        match self {
            ContextId::Thread(thread) => Some(thread),
            _ => None,
        }
    }
}

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContextId::Idle(cpu) => write!(f, "idle {}", cpu.0),
            ContextId::Handler(cpu, _) => write!(f, "handler {}", cpu.0),
            ContextId::Device(slot) => match ActorId::device(usize::from(*slot)).buffer_of() {
                Some(cpu) => write!(f, "stores {}", cpu.0),
                None => write!(f, "transfer {slot}"),
            },
            ContextId::Thread(thread) => write!(f, "task {}", thread.0),
        }
    }
}
