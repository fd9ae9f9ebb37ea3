//! A map by open addressing: quick, and nobody can depend on its order.

use super::merge::mix;

/// What a [`Table`] finds things by.
pub(super) trait Key: Copy + Eq {
    fn hash(self) -> u64;
}

impl Key for u64 {
    fn hash(self) -> u64 {
        mix(self, 7)
    }
}

impl Key for (u64, u16) {
    fn hash(self) -> u64 {
        mix(self.0, self.1.into())
    }
}

/// A map from keys to small values; nothing is ever taken out.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    slots: Vec<Option<(K, V)>>,
    used: usize,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Table<K, V> {
        Table {
            slots: Vec::new(),
            used: 0,
        }
    }
}

impl<K: Key, V: Copy> Table<K, V> {
    pub fn get(&self, key: K) -> Option<V> {
        if self.slots.is_empty() {
            return None;
        }
        self.slots[self.place(key)].map(|it| it.1)
    }

    pub fn set(&mut self, key: K, value: V) {
        if (self.used + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let place = self.place(key);
        self.used += usize::from(self.slots[place].is_none());
        self.slots[place] = Some((key, value));
    }

    /// Where a key is, or could be put.
    fn place(&self, key: K) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = key.hash() as usize & mask;
        while self.slots[at].is_some_and(|it| it.0 != key) {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots.resize_with((old.len() * 2).max(64), || None);
        for (key, value) in old.into_iter().flatten() {
            let place = self.place(key);
            self.slots[place] = Some((key, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_last_is_found_however_much_came_after() {
        let mut table = Table::default();
        assert_eq!(table.get((3, 1)), None);
        for round in 0..2u64 {
            for key in 0..1000 {
                table.set((key, 1), key + round);
            }
        }
        assert!((0..1000).all(|key| table.get((key, 1)) == Some(key + 1)));
        assert_eq!(table.get((3, 2)), None);
    }
}
