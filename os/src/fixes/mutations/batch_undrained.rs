//! A write fault counts the references that a batch of its CPU still has. Guards U17.

use crate::patch::{Patch, WpReuse};

pub struct BatchUndrained;

impl Patch for BatchUndrained {
    fn name(&self) -> &'static str {
        "batch-undrained"
    }

    fn about(&self) -> &'static str {
        "a write fault counts the references of batches"
    }

    fn builds_on(&self) -> &'static [&'static str] {
        &["cow-drain-first"]
    }

    fn wp_reuse(&self) -> Option<WpReuse> {
        Some(WpReuse::OnlyReference)
    }
}
