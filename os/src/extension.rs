//! Typed slots for what a patch keeps in a `Page`, a `Vma` or an `Mm`, so that a fix in a user's
//! own crate needs no edit here.

use std::any::{Any, TypeId};

/// A value that a patch can keep.
pub trait Extension: Any {
    /// A copy, for remembering a machine.
    fn copy(&self) -> Box<dyn Extension>;
    /// As `Any`.
    fn as_any(&self) -> &dyn Any;
    /// As `Any`, to change.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Any + Clone> Extension for T {
    fn copy(&self) -> Box<dyn Extension> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// At most one value of each type.
#[derive(Default)]
pub struct Extensions(Vec<(TypeId, Box<dyn Extension>)>);

impl Clone for Extensions {
    fn clone(&self) -> Self {
        Extensions(
            self.0
                .iter()
                .map(|(id, value)| (*id, (**value).copy()))
                .collect(),
        )
    }

    fn clone_from(&mut self, from: &Self) {
        self.0.clear();
        let copies = from.0.iter().map(|(id, value)| (*id, (**value).copy()));
        self.0.extend(copies);
    }
}

impl Extensions {
    /// The value of type `T`.
    pub fn get<T: Any + Clone>(&self) -> Option<&T> {
        let (_, value) = self.0.iter().find(|(id, _)| *id == TypeId::of::<T>())?;
        (**value).as_any().downcast_ref()
    }

    /// The value of type `T`, made by default when it is missing.
    pub fn get_or_default<T: Any + Clone + Default>(&mut self) -> &mut T {
        let id = TypeId::of::<T>();
        let at = match self.0.iter().position(|(one, _)| *one == id) {
            Some(at) => at,
            None => {
                self.0.push((id, Box::new(T::default())));
                self.0.len() - 1
            }
        };
        (*self.0[at].1)
            .as_any_mut()
            .downcast_mut()
            .expect("a slot holds the type it is found by")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_found_by_its_type_and_copied_with_the_whole() {
        #[derive(Clone, Default, PartialEq, Debug)]
        struct Pins(u32);
        let mut all = Extensions::default();
        assert_eq!(all.get::<Pins>(), None);
        all.get_or_default::<Pins>().0 = 3;
        let copy = all.clone();
        all.get_or_default::<Pins>().0 = 4;
        assert_eq!(copy.get::<Pins>(), Some(&Pins(3)));
        assert_eq!(all.get::<Pins>(), Some(&Pins(4)));
    }
}
