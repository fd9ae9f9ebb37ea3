//! A set of CPUs.

use emu::CpuId;

/// Up to 512 CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuSet([u64; 8]);

impl CpuSet {
    /// No CPU.
    pub const EMPTY: CpuSet = CpuSet([0; 8]);

    /// Adds a CPU; tells whether it was missing.
    #[inline]
    pub fn insert(&mut self, cpu: CpuId) -> bool {
        let (word, bit) = CpuSet::place(cpu);
        let missing = self.0[word] & bit == 0;
        self.0[word] |= bit;
        missing
    }

    /// Removes a CPU; tells whether it was there.
    #[inline]
    pub fn remove(&mut self, cpu: CpuId) -> bool {
        let (word, bit) = CpuSet::place(cpu);
        let there = self.0[word] & bit != 0;
        self.0[word] &= !bit;
        there
    }

    /// Whether a CPU is in it.
    #[inline]
    pub fn contains(&self, cpu: CpuId) -> bool {
        let (word, bit) = CpuSet::place(cpu);
        self.0[word] & bit != 0
    }

    /// Whether no CPU is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 8]
    }

    /// How many.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The CPUs, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + use<> {
        let words = self.0;
        (0..512u16).map(CpuId).filter(move |cpu| {
            let (word, bit) = CpuSet::place(*cpu);
            words[word] & bit != 0
        })
    }

    fn place(cpu: CpuId) -> (usize, u64) {
        (usize::from(cpu.0 / 64), 1 << (cpu.0 % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set = CpuSet::EMPTY;
        for cpu in [0, 63, 64, 511] {
            assert!(set.insert(CpuId(cpu)));
            assert!(!set.insert(CpuId(cpu)));
        }
        assert!(set.remove(CpuId(64)));
        assert!(!set.contains(CpuId(64)));
        assert_eq!(
            set.iter().map(|cpu| cpu.0).collect::<Vec<_>>(),
            [0, 63, 511]
        );
        assert_eq!(set.len(), 3);
    }
}
