//! A CPU's local interrupt controller: which interrupts wait, which one may be taken, which are
//! being handled.
//!
//! After the local APIC (Intel's manual, volume 3, "Handling interrupts"): a vector's upper four
//! bits are its priority class, and an interrupt is delivered only if its class is above that of
//! everything in service. Edge-triggered only; the CPU's own interrupt flag is the CPU's.

use std::fmt;

/// An interrupt vector.
///
/// On x86 vectors below 16 belong to exceptions and a controller refuses them. Here class 0 is
/// only the lowest: such a vector is delivered when nothing is in service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Vector(pub u8);

impl Vector {
    /// The priority class, 0 to 15; a higher class interrupts a lower one.
    #[inline]
    pub fn class(self) -> u8 {
        self.0 >> 4
    }

    /// The word and the bit of this vector in a bitmap of 256.
    #[inline]
    fn place(self) -> (usize, u64) {
        (usize::from(self.0 >> 6), 1 << (self.0 & 63))
    }
}

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

/// The controller of one CPU.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct InterruptController {
    /// What was raised and not yet accepted, with the cycle of its arrival: each vector once,
    /// the highest first. Hardware has a bit a vector here; arrivals lie in the future because a
    /// wire's delay is part of them.
    pending: Vec<(Vector, u64)>,
    /// What is being handled, the innermost last. Classes rise strictly, so 16 is the most.
    in_service: Vec<Vector>,
    masked: [u64; 4],
}

/// By hand for `clone_from`, which resets a machine and must reuse the memory.
impl Clone for InterruptController {
    fn clone(&self) -> Self {
        let mut copy = InterruptController::new();
        copy.clone_from(self);
        copy
    }

    fn clone_from(&mut self, source: &Self) {
        self.pending.clone_from(&source.pending);
        self.in_service.clone_from(&source.in_service);
        self.masked = source.masked;
    }
}

impl InterruptController {
    /// Nothing pending, nothing in service, nothing masked.
    pub fn new() -> InterruptController {
        InterruptController::default()
    }

    /// An edge on `vector` that reaches this controller at cycle `arrives_at`. A vector that is
    /// pending already stays pending once, and keeps the earlier of the two arrivals.
    pub fn raise(&mut self, vector: Vector, arrives_at: u64) {
        // Downwards, and few are pending at once: a scan beats a search.
        let at = self
            .pending
            .iter()
            .position(|&(other, _)| other <= vector)
            .unwrap_or(self.pending.len());
        match self.pending.get_mut(at) {
            Some((other, arrival)) if *other == vector => *arrival = arrives_at.min(*arrival),
            _ => self.pending.insert(at, (vector, arrives_at)),
        }
    }

    /// What was raised and not yet accepted, with the cycle of its arrival, the highest vector
    /// first. Masked vectors are included.
    #[inline]
    pub fn pending(&self) -> impl Iterator<Item = (Vector, u64)> + '_ {
        self.pending.iter().copied()
    }

    /// The earliest arrival, in cycles, among the pending vectors that neither a mask nor
    /// something in service holds back: from then on there is something to deliver, provided the
    /// CPU's interrupt flag allows it.
    #[inline]
    pub fn next_arrival(&self) -> Option<u64> {
        self.unblocked().map(|(_, arrival)| arrival).min()
    }

    /// The highest vector that can be accepted: arrived by `now` (`None`: whatever its arrival),
    /// not masked, and of a class above everything in service.
    #[inline]
    pub fn deliverable(&self, now: Option<u64>) -> Option<Vector> {
        self.unblocked()
            .find(|&(_, arrival)| now.is_none_or(|now| arrival <= now))
            .map(|(vector, _)| vector)
    }

    /// The CPU takes `vector`: it leaves the pending ones and is in service until
    /// [`eoi`](Self::eoi). Raised meanwhile, it is pending again, and waits for that.
    ///
    /// # Panics
    ///
    /// If `vector` is not pending, is masked, or is held back by what is in service.
    pub fn accept(&mut self, vector: Vector) {
        let at = self
            .pending
            .iter()
            .position(|&(other, _)| other == vector)
            .unwrap_or_else(|| panic!("accepted vector {vector} is not pending: {self:?}"));
        assert!(
            !self.is_masked(vector),
            "accepted vector {vector} is masked"
        );
        assert!(
            self.outranks_service(vector),
            "accepted vector {vector} is not of a higher class than what is in service: {self:?}"
        );
        self.pending.remove(at);
        self.in_service.push(vector);
    }

    /// End of interrupt: the innermost handler is done.
    ///
    /// # Panics
    ///
    /// If nothing is in service.
    #[inline]
    pub fn eoi(&mut self) {
        let ended = self.in_service.pop();
        assert!(ended.is_some(), "end of interrupt with nothing in service");
    }

    /// The vector whose handler is innermost.
    #[inline]
    pub fn in_service(&self) -> Option<Vector> {
        self.in_service.last().copied()
    }

    /// Holds `vector` back until [`unmask`](Self::unmask); an edge meanwhile is kept.
    #[inline]
    pub fn mask(&mut self, vector: Vector) {
        let (word, bit) = vector.place();
        self.masked[word] |= bit;
    }

    /// Lets `vector` through again.
    #[inline]
    pub fn unmask(&mut self, vector: Vector) {
        let (word, bit) = vector.place();
        self.masked[word] &= !bit;
    }

    /// True while `vector` is held back by [`mask`](Self::mask).
    #[inline]
    pub fn is_masked(&self, vector: Vector) -> bool {
        let (word, bit) = vector.place();
        self.masked[word] & bit != 0
    }

    /// True when nothing is pending, masked or not, and nothing is in service.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.in_service.is_empty()
    }

    /// Pending vectors that only their arrival may hold back, the highest first.
    #[inline]
    fn unblocked(&self) -> impl Iterator<Item = (Vector, u64)> + '_ {
        // The list falls, so the first vector that is outranked ends it.
        self.pending()
            .take_while(|&(vector, _)| self.outranks_service(vector))
            .filter(|&(vector, _)| !self.is_masked(vector))
    }

    #[inline]
    fn outranks_service(&self, vector: Vector) -> bool {
        self.in_service()
            .is_none_or(|inner| vector.class() > inner.class())
    }
}

#[cfg(test)]
mod tests;
