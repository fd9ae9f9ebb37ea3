//! State that a reset puts back only if a run has reached for it.

use std::cell::{Cell, Ref, RefCell, RefMut};

/// A `RefCell` that knows whether it may have changed since the machine was prepared: most runs
/// leave most of a kernel alone.
#[derive(Default)]
pub struct Kept<T> {
    value: RefCell<T>,
    reached: Cell<bool>,
}

impl<T> Kept<T> {
    /// Holds `value`.
    pub fn new(value: T) -> Kept<T> {
        Kept {
            value: RefCell::new(value),
            reached: Cell::new(false),
        }
    }

    /// To look at.
    #[inline]
    pub fn borrow(&self) -> Ref<'_, T> {
        self.value.borrow()
    }

    /// To change.
    #[inline]
    pub fn borrow_mut(&self) -> RefMut<'_, T> {
        self.reached.set(true);
        self.value.borrow_mut()
    }

    /// Lets `reset` put it back, if anybody reached for it since the last time.
    #[inline]
    pub fn put_back(&self, reset: impl FnOnce(&mut T)) {
        if self.reached.replace(false) {
            reset(&mut self.value.borrow_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_put_back_once_for_each_time_that_it_was_reached_for() {
        let kept = Kept::new(1);
        let resets = Cell::new(0);
        let put_back = || {
            kept.put_back(|value| {
                *value = 1;
                resets.set(resets.get() + 1);
            });
        };
        put_back();
        assert_eq!(*kept.borrow() + resets.get(), 1);
        *kept.borrow_mut() = 5;
        put_back();
        put_back();
        assert_eq!((*kept.borrow(), resets.get()), (1, 1));
    }
}
