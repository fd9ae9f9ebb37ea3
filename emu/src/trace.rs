//! Records of steps, the digest over them, and the function spans around them.

use std::fmt;
use std::panic::Location;

use crate::{Access, ActorId, ContextId, Object};

/// One step, as it happened. Text comes from its `Display`.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The step's number, from 1.
    pub step: u64,
    /// The clock, in cycles.
    pub cycle: u64,
    /// Who acted.
    pub actor: ActorId,
    /// On whose behalf: a task, a handler, a scheduler, a device.
    pub context: ContextId,
    /// What was touched.
    pub object: Object,
    /// How.
    pub access: Access,
    /// What was read or written.
    pub value: u64,
    /// The function of the guest kernel it stands in, innermost last.
    pub spans: SpanStack,
    /// Where in the emulator's source.
    pub at: &'static Location<'static>,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>8} {:>12} {:<8} {:<10} {:<7} {:<24} {:#x} {}",
            self.step,
            self.cycle,
            self.actor.to_string(),
            self.context.to_string(),
            self.access.to_string(),
            self.object.to_string(),
            self.value,
            self.spans,
        )
    }
}

/// The functions a context stands in. Deeper ones than it has room for are counted, not named.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct SpanStack {
    names: [&'static str; SpanStack::DEPTH],
    depth: u8,
}

impl SpanStack {
    const DEPTH: usize = 8;

    /// Enters `name`.
    #[inline]
    pub fn push(&mut self, name: &'static str) {
        if let Some(place) = self.names.get_mut(self.depth as usize) {
            *place = name;
        }
        self.depth += 1;
    }

    /// Leaves all of them.
    #[inline]
    pub fn clear(&mut self) {
        self.depth = 0;
    }

    /// Leaves the innermost function.
    #[inline]
    pub fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// The names, outermost first.
    pub fn names(&self) -> &[&'static str] {
        &self.names[..(self.depth as usize).min(SpanStack::DEPTH)]
    }

    /// The innermost name.
    pub fn innermost(&self) -> Option<&'static str> {
        self.names().last().copied()
    }
}

impl fmt::Display for SpanStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(" > "))
    }
}

/// The digest of a run: one 128-bit multiplication a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest(u128);

impl Digest {
    const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

    /// The digest of no step.
    pub const fn new() -> Digest {
        Digest(0x6a09_e667_f3bc_c908_bb67_ae85_84ca_a73b)
    }

    /// Folds in a step: who, what and how, and the value. Each fold is a bijection of the state,
    /// so no two inputs of one step can be confused.
    #[inline]
    pub fn fold(&mut self, what: u64, value: u64) {
        let word = u128::from(what) << 64 | u128::from(value);
        self.0 = (self.0 ^ word)
            .wrapping_mul(Digest::MULTIPLIER)
            .rotate_right(41);
    }

    /// As a number, for replay files.
    pub const fn raw(self) -> u128 {
        self.0
    }

    /// From a replay file.
    pub const fn from_raw(raw: u128) -> Digest {
        Digest(raw)
    }

    /// A 32-bit extract, for checks inside a replay file.
    #[inline]
    pub const fn short(self) -> u32 {
        (self.0 ^ (self.0 >> 64)) as u32
    }
}

impl Default for Digest {
    fn default() -> Self {
        Digest::new()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What is recorded: a window of steps, bounded so that no run can eat the host's memory.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The first step recorded.
    pub from: u64,
    /// The last.
    pub to: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_tells_order_and_every_bit() {
        let of = |steps: &[(u64, u64)]| {
            let mut digest = Digest::new();
            for (what, value) in steps {
                digest.fold(*what, *value);
            }
            digest
        };
        assert_ne!(of(&[(1, 2), (3, 4)]), of(&[(3, 4), (1, 2)]));
        for bit in 0..64 {
            assert_ne!(of(&[(1 << bit, 0)]), of(&[(0, 0)]));
            assert_ne!(of(&[(0, 1 << bit)]), of(&[(0, 0)]));
        }
    }

    #[test]
    fn spans_nest_and_overflow_quietly() {
        let mut spans = SpanStack::default();
        for _ in 0..12 {
            spans.push("f");
        }
        assert_eq!(spans.names().len(), 8);
        for _ in 0..12 {
            spans.pop();
        }
        assert_eq!(spans.names().len(), 0);
    }
}
