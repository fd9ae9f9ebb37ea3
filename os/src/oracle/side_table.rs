//! What oracles keep for each frame, beside the kernel's own bookkeeping: forgotten all at once.

use mmu::Pfn;

const CHUNK: usize = 512;

/// A value for each frame, in chunks made when first wanted. Each value bears the generation it
/// was written in; a reset starts a new generation, and clears nothing.
pub(super) struct SideTable<T> {
    chunks: Vec<Option<Box<[(u32, T)]>>>,
    generation: u32,
}

impl<T> Default for SideTable<T> {
    fn default() -> Self {
        SideTable {
            chunks: Vec::new(),
            generation: 1,
        }
    }
}

impl<T: Clone + Default> SideTable<T> {
    /// The value of a frame, if one was written since the last reset.
    #[inline]
    pub fn get(&self, pfn: Pfn) -> Option<&T> {
        let at = pfn.get() as usize;
        let (generation, value) = &self.chunks.get(at / CHUNK)?.as_ref()?[at % CHUNK];
        (*generation == self.generation).then_some(value)
    }

    /// The value of a frame, to write; the default if there was none.
    #[inline]
    pub fn get_mut(&mut self, pfn: Pfn) -> &mut T {
        let at = pfn.get() as usize;
        let here = self.generation;
        if !matches!(self.chunks.get(at / CHUNK), Some(Some(_))) {
            self.make_chunk(at / CHUNK);
        }
        let chunk = self.chunks[at / CHUNK].as_mut().expect("it was just made");
        let (generation, value) = &mut chunk[at % CHUNK];
        if *generation != here {
            *generation = here;
            *value = T::default();
        }
        value
    }

    #[cold]
    fn make_chunk(&mut self, chunk: usize) {
        if self.chunks.len() <= chunk {
            self.chunks.resize_with(chunk + 1, || None);
        }
        self.chunks[chunk] = Some(vec![(0, T::default()); CHUNK].into());
    }

    /// Forgets every value, in constant time.
    pub fn reset(&mut self) {
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_forgets_every_value() {
        let mut table = SideTable::default();
        for frame in [0, 511, 512, 9000] {
            *table.get_mut(Pfn::new(frame)) = frame + 1;
            assert_eq!(table.get(Pfn::new(frame)), Some(&(frame + 1)));
        }
        table.reset();
        for frame in [0, 511, 512, 9000] {
            assert_eq!(table.get(Pfn::new(frame)), None);
        }
        assert_eq!(*table.get_mut(Pfn::new(511)), 0);
    }
}
