//! `timed(seed)`: simulated time decides. Each step costs cycles, with a seeded jitter; ties
//! break by the seed. This one is not behind the [`Chooser`](super::Chooser) trait: it decides at
//! every step, and a step that would be chosen again completes without suspending.

use std::cell::{Cell, RefCell};

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;

use crate::rng;
use crate::tree::WinnerTree;

/// Ready times of the actors, packed with a random tie-breaker: `time << 18 | tie << 12 | slot`.
/// 46 bits of cycles are seven hours at 2.5 GHz.
pub struct Timed {
    tree: RefCell<WinnerTree>,
    /// The smallest key of everybody but the actor that is running.
    horizon: Cell<u64>,
    jitter_rng: RefCell<ChaCha8Rng>,
    /// Half the width of the jitter, in 1/1024.
    jitter: u64,
}

const SLOT_BITS: u32 = 12;
const TIE_BITS: u32 = 6;

impl Timed {
    /// For `slots` actors, each cost varying by `jitter_percent`.
    pub(crate) fn new(slots: usize, jitter_percent: u32, seed: u64) -> Timed {
        assert!(slots < 1 << SLOT_BITS, "{slots} actors do not fit a key");
        Timed {
            tree: RefCell::new(WinnerTree::new(slots)),
            horizon: Cell::new(WinnerTree::NONE),
            jitter_rng: RefCell::new(rng::stream(seed, rng::Purpose::Jitter)),
            jitter: u64::from(jitter_percent) * 1024 / 100,
        }
    }

    pub(crate) fn reset(&self, seed: u64) {
        self.tree.borrow_mut().clear();
        self.horizon.set(WinnerTree::NONE);
        *self.jitter_rng.borrow_mut() = rng::stream(seed, rng::Purpose::Jitter);
    }

    /// A ready time `cost` cycles after `base`, as a key; draws once whatever happens next.
    #[inline]
    pub(crate) fn key(&self, base: u64, cost: u64, slot: usize) -> u64 {
        let draw = u64::from(self.jitter_rng.borrow_mut().next_u32());
        let spread = ((draw >> TIE_BITS) * (2 * self.jitter)) >> (32 - TIE_BITS);
        let cost = (cost * (1024 + spread - self.jitter)) >> 10;
        (base + cost) << (SLOT_BITS + TIE_BITS)
            | (draw & ((1 << TIE_BITS) - 1)) << SLOT_BITS
            | slot as u64
    }

    /// A key for exactly this time.
    #[inline]
    pub(crate) fn key_at(time: u64, slot: usize) -> u64 {
        time << (SLOT_BITS + TIE_BITS) | slot as u64
    }

    /// The time a key stands for.
    #[inline]
    pub(crate) fn time(key: u64) -> u64 {
        key >> (SLOT_BITS + TIE_BITS)
    }

    #[inline]
    pub(crate) fn horizon(&self) -> u64 {
        self.horizon.get()
    }

    #[inline]
    pub(crate) fn key_of(&self, slot: usize) -> u64 {
        self.tree.borrow().key(slot)
    }

    #[inline]
    pub(crate) fn set(&self, slot: usize, key: u64) {
        self.tree.borrow_mut().set(slot, key);
        if key < self.horizon.get() {
            self.horizon.set(key);
        }
    }

    /// The slot whose key is smallest.
    #[inline]
    pub(crate) fn first(&self) -> Option<usize> {
        let key = self.tree.borrow().min();
        (key != WinnerTree::NONE).then_some((key & ((1 << SLOT_BITS) - 1)) as usize)
    }

    /// `slot` runs until its next key passes everybody else's.
    #[inline]
    pub(crate) fn grant(&self, slot: usize) {
        self.horizon.set(self.tree.borrow().min_without(slot));
    }
}
